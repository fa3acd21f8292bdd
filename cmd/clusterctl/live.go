package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// live is one line on a terminal that is written again and again. Elsewhere it
// shows nothing.
type live struct {
	out   io.Writer
	file  *os.File // nil: no terminal
	shown string
}

func (p *program) live() *live {
	l := &live{out: p.stderr}
	if file, ok := p.stderr.(*os.File); ok && p.getenv("TERM") != "dumb" && isTerminal(file) {
		l.file = file
	}
	return l
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

func (l *live) terminal() bool { return l.file != nil }

// show replaces the line.
func (l *live) show(text string) {
	if !l.terminal() || text == l.shown {
		return
	}
	l.shown = text
	width, _, err := term.GetSize(int(l.file.Fd()))
	if err != nil || width < 20 {
		width = 80
	}
	width -= len(" ^C") // which the terminal may add; a line that wraps can't be written again
	if runes := []rune(text); len(runes) >= width {
		text = string(runes[:width-2]) + "…"
	}
	fmt.Fprint(l.out, "\r\x1b[K"+text)
}

// clear takes the line away, so that others can be written.
func (l *live) clear() {
	if l.terminal() && l.shown != "" {
		fmt.Fprint(l.out, "\r\x1b[K")
		l.shown = ""
	}
}
