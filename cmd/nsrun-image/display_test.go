package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/clusterd/clusterd/agent/image"
)

func TestBarsAndLines(t *testing.T) {
	a, b := image.DigestOf([]byte("a")), image.DigestOf([]byte("b"))
	show := func(width int, quiet bool) string {
		var out bytes.Buffer
		d := &display{out: &out, width: width, quiet: quiet, byID: map[image.Digest]*bar{}}
		d.watch(image.Status{Layer: a, Phase: image.Waiting, Total: 100})
		d.watch(image.Status{Layer: b, Phase: image.Exists})
		d.watch(image.Status{Layer: a, Phase: image.Downloading, Done: 50, Total: 100})
		fmt.Fprintln(d, "a line")
		d.watch(image.Status{Layer: a, Phase: image.Complete, Done: 100, Total: 100})
		d.close()
		return out.String()
	}
	lines := b.Short() + ": Already exists\na line\n" + a.Short() + ": Pull complete\n"
	if got := show(0, false); got != lines {
		t.Errorf("lines:\n%s\nwant\n%s", got, lines)
	}
	if got := show(0, true); got != "" {
		t.Errorf("quiet: %q", got)
	}
	got := show(100, false)
	for _, want := range []string{
		a.Short() + ": Downloading [" + strings.Repeat("=", 15) + ">" + strings.Repeat(" ", 15) + "] 50B/100B\n",
		"\x1b[2A\r\x1b[Ja line\n", // above the bars
	} {
		if !strings.Contains(got, want) {
			t.Errorf("bars: %q has no %q", got, want)
		}
	}
	if !strings.HasSuffix(got, a.Short()+": Pull complete\n"+b.Short()+": Already exists\n") {
		t.Errorf("bars end with %q", got)
	}
}

func TestLongTransfersHaveARate(t *testing.T) {
	began := time.Unix(0, 0)
	b := bar{Status: image.Status{Layer: image.DigestOf(nil), Phase: image.Downloading, Done: 20e6, Total: 80e6}, began: began}
	if got := b.line(began.Add(2*time.Second), 0); got != "e3b0c44298fc: Downloading 20MB/80MB  10MB/s" {
		t.Errorf("got %s", got)
	}
	b.Done, b.Total = 200, 100 // a stranger's word
	if got := b.line(began.Add(time.Hour), 100); !strings.Contains(got, strings.Repeat("=", barWidth)+">]") {
		t.Errorf("got %s", got)
	}
}

// What wraps, or leaves the screen, is not erased by going up as many lines as there are bars.
func TestBarsKeepToTheScreen(t *testing.T) {
	for _, size := range []struct{ width, height, drawn int }{{200, 50, 9}, {80, 10, 9}, {80, 5, 4}, {40, 3, 2}, {10, 3, 2}, {1, 1, 0}} {
		var out bytes.Buffer
		d := &display{out: &out, width: size.width, height: size.height, byID: map[image.Digest]*bar{}}
		for i := range 9 {
			d.watch(image.Status{Layer: image.DigestOf([]byte{byte(i)}), Phase: image.Waiting, Total: 100e6})
		}
		moving := image.DigestOf([]byte{8})
		d.watch(image.Status{Layer: moving, Phase: image.Downloading, Done: 20e6, Total: 100e6})
		d.byID[moving].began = time.Now().Add(-time.Minute)
		out.Reset()
		d.drawn = 0
		d.draw(time.Now())
		lines := strings.SplitAfter(out.String(), "\n")
		if n := len(lines) - 1; n != size.drawn || d.drawn != n {
			t.Errorf("%+v: %d lines, and %d to erase", size, n, d.drawn)
		}
		for _, line := range lines {
			if len(line) > size.width {
				t.Errorf("%+v: %d columns: %q", size, len(line)-1, line)
			}
		}
		if size.width >= 40 && !strings.Contains(out.String(), "Downloading") {
			t.Errorf("%+v: the one that moves is not to be seen: %s", size, &out)
		}
		if size.width >= 80 && !strings.Contains(out.String(), ">") {
			t.Errorf("%+v: no bar: %s", size, &out)
		}
		out.Reset()
		d.close()
		if n := strings.Count(out.String(), "\n"); n != 9 {
			t.Errorf("%+v: left %d lines", size, n)
		}
	}
}

func TestLinesOfStrangersDontSpeakToTheTerminal(t *testing.T) {
	var out bytes.Buffer
	d := &display{out: &out, byID: map[image.Digest]*bar{}}
	fmt.Fprintf(d, "layer: %s\n", "503 \x1b]0;pwned\a")
	if want := `layer: 503 \x1b]0;pwned\a` + "\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

func TestErrorsDontSpeakToTheTerminal(t *testing.T) {
	var out bytes.Buffer
	if code := run(t.Context(), []string{"nsrun-image", "inspect", "--type=\x1b[2J", "x"}, strings.NewReader(""), &out, &out); code != exitUsage {
		t.Errorf("exits %d", code)
	}
	if !strings.Contains(out.String(), `--type=\x1b[2J:`) {
		t.Errorf("%q", out.String())
	}
}
