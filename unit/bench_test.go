package unit_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	gosystemd "github.com/coreos/go-systemd/v22/unit"

	"github.com/clusterd/clusterd/unit"
)

// BenchmarkParse reads a typical unit, beside the parser that fleet used.
func BenchmarkParse(b *testing.B) {
	classic := []byte(busybox)
	bench := func(name string, parse func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(classic)))
			for b.Loop() {
				if err := parse(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "files/s")
		})
	}
	bench("unit", func() error {
		_, err := unit.Parse("busybox.service", classic)
		return err
	})
	bench("go-systemd", func() error {
		_, err := gosystemd.DeserializeSections(io.Reader(bytes.NewReader(classic)))
		return err
	})
	f, err := unit.Parse("busybox.service", classic)
	if err != nil {
		b.Fatal(err)
	}
	bench("check", func() error {
		return unit.Errors(f.Check("busybox.service", unit.CheckOptions{}))
	})
	bench("options", func() error {
		_, err := f.Options("busybox.service")
		return err
	})
}

// A line that nobody asks for costs no allocation.
func TestParseAllocatesNothingPerLine(t *testing.T) {
	allocations := func(lines int) float64 {
		src := []byte("[Service]\n" + strings.Repeat("# comment\n\nEnvironment=A=b\n", lines))
		return testing.AllocsPerRun(20, func() {
			if _, err := unit.Parse("web.service", src); err != nil {
				t.Fatal(err)
			}
		})
	}
	if few, many := allocations(2), allocations(2000); many > few {
		t.Errorf("%v allocations for 6000 lines, %v for 6", many, few)
	}
}
