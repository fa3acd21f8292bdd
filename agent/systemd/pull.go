package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/clusterd/clusterd/agent"
	"github.com/clusterd/clusterd/agent/image"
)

// pullsMax is how many images are pulled at once.
const pullsMax = 4

// NewPuller returns an agent.Puller that runs `nsrun pull`, in a service of its
// own: the daemon's may not write where images are. Units that want the same
// image share a pull. Given up, one goes on in its service; what it got is not
// lost.
func NewPuller(nsrun string) agent.Puller {
	p := &puller{
		have: have, slots: make(chan struct{}, pullsMax), flights: map[string]*flight{},
		run: func(ctx context.Context, ref string, progress func(string)) error {
			return runPull(ctx, nsrun, ref, progress)
		},
	}
	return p.pull
}

type puller struct {
	have  func(ref string) bool
	run   func(ctx context.Context, ref string, progress func(string)) error
	slots chan struct{}

	mu      sync.Mutex
	flights map[string]*flight // the last begun for each image
}

// flight is one pull and those who wait for it.
type flight struct {
	cancel  context.CancelFunc // when nobody waits any longer
	done    chan struct{}
	err     error
	begun   bool // the registry may have been asked already
	waiting map[int]func(string)
	next    int
}

func (p *puller) pull(ctx context.Context, ref string, refresh bool, progress func(string)) error {
	if !refresh && p.have(ref) {
		return nil
	}
	f, i := p.join(ctx, ref, refresh, progress)
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(f.waiting, i)
		if len(f.waiting) == 0 {
			f.cancel()
			if p.flights[ref] == f {
				delete(p.flights, ref)
			}
		}
		return ctx.Err()
	}
}

// join takes part in a pull that serves, or begins one. Who wants what the
// registry has now is not served by one that asked it before.
func (p *puller) join(ctx context.Context, ref string, refresh bool, progress func(string)) (*flight, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.flights[ref]
	if f == nil || refresh && f.begun {
		before := f
		flying, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f = &flight{cancel: cancel, done: make(chan struct{}), waiting: map[int]func(string){}}
		p.flights[ref] = f
		go p.fly(flying, ref, f, before)
	}
	f.next++
	f.waiting[f.next] = progress
	return f, f.next
}

// fly ends with ctx, or when the pull does. It begins after the one before of
// the same image.
func (p *puller) fly(ctx context.Context, ref string, f, before *flight) {
	defer f.cancel()
	if before != nil {
		select {
		case <-before.done:
		case <-ctx.Done():
		}
	}
	select {
	case p.slots <- struct{}{}:
		p.mu.Lock()
		f.begun = true
		p.mu.Unlock()
		f.err = p.run(ctx, ref, func(line string) { p.tell(f, line) })
		<-p.slots
	case <-ctx.Done():
		f.err = ctx.Err()
	}
	p.mu.Lock()
	if p.flights[ref] == f {
		delete(p.flights, ref)
	}
	p.mu.Unlock()
	close(f.done)
}

func (p *puller) tell(f *flight, line string) {
	p.mu.Lock()
	var all []func(string)
	for _, progress := range f.waiting {
		all = append(all, progress)
	}
	p.mu.Unlock()
	for _, progress := range all {
		progress(line)
	}
}

func runPull(ctx context.Context, nsrun, ref string, progress func(string)) error {
	cmd := exec.CommandContext(ctx, "systemd-run", "--quiet", "--collect", "--wait", "--pipe", "--service-type=exec", "--uid=0", // with it comes HOME, where logins are kept
		"--description=Pull of image "+strings.ReplaceAll(ref, "%", "%%"), "--", nsrun, "pull", ref)
	cmd.Env = toolEnv()
	out := &lastLine{each: progress}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &exit) && out.last != "":
		// Whoever asked knows what was to be pulled.
		return errors.New(strings.TrimPrefix(strings.TrimPrefix(out.last, "nsrun: "), "pull "+ref+": "))
	case err != nil:
		return fmt.Errorf("run %s pull: %w", nsrun, err)
	}
	return nil
}

// have says whether an image is on this machine and complete.
func have(ref string) bool {
	store, err := image.Open(image.Dir)
	if err != nil {
		return false
	}
	_, err = store.Resolve(ref)
	return err == nil
}

// lastLine tells of each line that is written to it and keeps the last.
type lastLine struct {
	each func(string)
	last string
	rest []byte
}

const lineMax = 1 << 10 // bytes; what is longer is told in pieces

func (l *lastLine) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		end := bytes.IndexByte(l.rest, '\n')
		if end < 0 && len(l.rest) < lineMax {
			return len(p), nil
		}
		if end < 0 {
			end = len(l.rest) - 1
		}
		if line := strings.TrimSpace(strings.ToValidUTF8(string(l.rest[:end+1]), "?")); line != "" {
			l.last = line
			l.each(line)
		}
		l.rest = l.rest[end+1:]
	}
}
