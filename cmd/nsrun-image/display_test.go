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
	if got := b.line(began.Add(time.Hour), 80); !strings.Contains(got, strings.Repeat("=", barWidth)+">]") {
		t.Errorf("got %s", got)
	}
}
