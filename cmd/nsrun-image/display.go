package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/image/pull"
)

const (
	redrawEvery = 100 * time.Millisecond // on a terminal
	lineEvery   = 5 * time.Second        // for a layer, elsewhere
	barWidth    = 30
	barWidthMin = 5 // what is less says nothing
)

// display shows how far layers are: bars on a terminal, a line for each step
// elsewhere. Lines that are written to it stand above the bars.
type display struct {
	out    io.Writer
	quiet  bool
	width  int // of the terminal; 0: none
	height int // 0: unknown

	mu    sync.Mutex
	bars  []*bar
	byID  map[image.Digest]*bar
	drawn int // lines on the screen
	last  time.Time
}

// bar is one layer.
type bar struct {
	image.Status
	began, said time.Time
}

// display shows progress on standard error.
func (t *tool) display(quiet bool) *display {
	d := &display{out: t.stderr, quiet: quiet, byID: map[image.Digest]*bar{}}
	if file, ok := t.stderr.(*os.File); ok && !quiet && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(file.Fd())) {
		d.width = 80
		if width, height, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
			d.width, d.height = width, height
		}
	}
	return d
}

// Write shows lines above the bars, whatever registries and images put into them.
func (d *display) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.quiet {
		return len(p), nil
	}
	d.erase()
	_, err := io.WriteString(d.out, image.PrintableLines(string(p)))
	d.draw(time.Now())
	return len(p), err
}

// watch takes news of a layer.
func (d *display) watch(s image.Status) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	b := d.byID[s.Layer]
	if b == nil {
		b = &bar{began: now, said: now}
		d.byID[s.Layer], d.bars = b, append(d.bars, b)
	}
	if b.Phase == image.Waiting && s.Phase == image.Downloading {
		b.began = now
	}
	changed := b.Phase != s.Phase
	b.Status = s
	switch {
	case d.quiet:
	case d.width > 0:
		if changed || now.Sub(d.last) >= redrawEvery {
			d.erase()
			d.draw(now)
		}
	case changed && s.Phase != image.Waiting && s.Phase != image.Downloading, now.Sub(b.said) >= lineEvery:
		b.said = now
		fmt.Fprintln(d.out, b.line(now, 0))
	}
}

// close leaves the bars as they are.
func (d *display) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.erase()
	d.height = 0 // nothing is erased any more: all of them
	d.draw(time.Now())
	d.bars, d.byID, d.drawn = nil, map[image.Digest]*bar{}, 0
}

func (d *display) erase() {
	if d.drawn > 0 {
		fmt.Fprintf(d.out, "\x1b[%dA\r\x1b[J", d.drawn)
		d.drawn = 0
	}
}

func (d *display) draw(now time.Time) {
	if d.width == 0 || d.quiet {
		return
	}
	bars := d.visible()
	var all strings.Builder
	for _, b := range bars {
		line := b.line(now, d.width)
		if runes := []rune(line); len(runes) >= d.width { // a line that wraps would be two to erase
			line = string(runes[:d.width-1])
		}
		all.WriteString(line + "\n")
	}
	fmt.Fprint(d.out, all.String())
	d.drawn, d.last = len(bars), now
}

// visible returns the bars that there is room for, since what has left the screen
// can't be erased: those that move first.
func (d *display) visible() []*bar {
	most := d.height - 1 // the cursor stands below
	if d.height == 0 || len(d.bars) <= most {
		return d.bars
	}
	var some []*bar
	for _, moving := range []bool{true, false} {
		for _, b := range d.bars {
			if len(some) < most && moving == (b.Phase == image.Downloading || b.Phase == image.Retrying) {
				some = append(some, b)
			}
		}
	}
	return some
}

// line describes the layer; width 0 is for no terminal.
func (b *bar) line(now time.Time, width int) string {
	head := fmt.Sprintf("%s: %s", b.Layer.Short(), b.Phase)
	if b.Phase != image.Downloading || b.Total <= 0 {
		return head
	}
	bytes := fmt.Sprintf("%s/%s", pull.Size(b.Done), pull.Size(b.Total))
	if rate := float64(b.Done) / now.Sub(b.began).Seconds(); rate > 0 && now.Sub(b.began) > time.Second/2 {
		bytes += fmt.Sprintf("  %s/s", pull.Size(int64(rate)))
	}
	if width == 0 {
		return head + " " + bytes
	}
	wide := min(barWidth, width-len(head)-len(bytes)-len(" [>]  "))
	if wide < barWidthMin {
		return head + " " + bytes
	}
	full := int(int64(wide) * min(b.Done, b.Total) / b.Total)
	return fmt.Sprintf("%s [%s>%s] %s", head, strings.Repeat("=", full), strings.Repeat(" ", wide-full), bytes)
}
