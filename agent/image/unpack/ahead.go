package unpack

import "io"

const (
	aheadBuffers = 2
	aheadBytes   = 256 << 10 // each; hand-offs cost more than what doesn't fit a core's cache
)

// ahead decompresses in a goroutine of its own, a few buffers ahead of whoever
// reads. Decompressing is the larger half of the work on a layer; hashing and
// writing what comes out is the other. An image's largest layer, which others seldom
// keep company to the end, thus has two cores to itself.
type ahead struct {
	in    *source
	plain io.ReadCloser
	stop  chan struct{}
	empty chan []byte
	full  chan chunk // has room for all buffers; closed at the end

	now  chunk
	left []byte // of now
}

// chunk is some unpacked bytes and what came after them.
type chunk struct {
	buf  []byte
	n    int
	took int64 // bytes of the blob that were read by then
	err  error
}

// readAhead begins to decompress in. The caller closes what it gets, and leaves in alone until then.
func readAhead(in *source) (*ahead, error) {
	plain, err := decompress(in)
	if err != nil {
		return nil, err
	}
	a := &ahead{
		in: in, plain: plain, stop: make(chan struct{}),
		empty: make(chan []byte, aheadBuffers), full: make(chan chunk, aheadBuffers),
	}
	for range aheadBuffers {
		a.empty <- make([]byte, aheadBytes)
	}
	go a.run()
	return a, nil
}

func (a *ahead) run() {
	defer close(a.full)
	for {
		select {
		case <-a.stop:
			return
		case buf := <-a.empty:
			c := chunk{buf: buf}
			for c.n < len(buf) && c.err == nil {
				var n int
				n, c.err = a.plain.Read(buf[c.n:])
				c.n += n
			}
			c.took = a.in.read
			a.full <- c
			if c.err != nil {
				return
			}
		}
	}
}

// Read returns what is next, and the error only after all that came before it.
func (a *ahead) Read(p []byte) (int, error) {
	for len(a.left) == 0 {
		if a.now.err != nil {
			return 0, a.now.err
		}
		if a.now.buf != nil {
			a.empty <- a.now.buf
		}
		a.now = <-a.full
		a.left = a.now.buf[:a.now.n]
	}
	n := copy(p, a.left)
	a.left = a.left[n:]
	return n, nil
}

// took says how much of the blob what was read so far came out of, at most.
func (a *ahead) took() int64 { return a.now.took }

// Close ends the goroutine, waiting for the read it is at.
func (a *ahead) Close() error {
	close(a.stop)
	for range a.full { // until it is gone
	}
	return a.plain.Close()
}
