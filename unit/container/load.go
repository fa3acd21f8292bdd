package container

import "github.com/clusterd/clusterd/unit"

// Loaded is what systemd runs for a file of the cluster's.
type Loaded struct {
	Text []byte     // the file's own bytes, unless it has a [Container] section
	File *unit.File // the same, parsed: its limits and ports are those that count

	Images  []string // as Rendered has them
	Refresh bool

	lines []int
}

// Load reads a file of the cluster's and renders it if need be. Whoever asks
// what the unit needs, or runs, asks the result. Errors are of unit.Parse and
// Render; files were checked when they came, so one is rare.
func Load(name unit.Name, src []byte) (*Loaded, error) {
	f, err := unit.Parse(string(name), src)
	if err != nil {
		return nil, err
	}
	if !Has(f) {
		return &Loaded{Text: src, File: f}, nil
	}
	r, err := Render(name, f)
	if err != nil {
		return nil, err
	}
	f, err = unit.Parse(string(name), r.Text)
	if err != nil {
		return nil, err
	}
	return &Loaded{Text: r.Text, File: f, Images: r.Images, Refresh: r.Refresh, lines: r.Lines}, nil
}

// Line is the line of the user's that a line of Text is, or stands for; both
// count from 1.
func (l *Loaded) Line(n int) int {
	if n < 1 || n > len(l.lines) {
		return n
	}
	return l.lines[n-1]
}
