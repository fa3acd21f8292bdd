package image

import (
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	for _, tt := range []struct{ want, offered, chosen string }{
		{"linux/amd64", "linux/arm64 linux/amd64", "linux/amd64"},
		{"amd64", "windows/amd64 linux/amd64", "linux/amd64"},
		{"linux/x86_64", "linux/amd64", "linux/amd64"},
		{"linux/arm64", "linux/arm64/v8", "linux/arm64/v8"},
		{"linux/arm64/v8", "linux/arm64", "linux/arm64"},
		{"linux/arm/v7", "linux/arm/v5 linux/arm/v6 linux/arm/v8", "linux/arm/v6"},
		{"linux/arm/v7", "linux/arm/v6 linux/arm/v7", "linux/arm/v7"},
		{"linux/arm/v5", "linux/arm/v6 linux/arm/v7", ""},
		{"linux/amd64", "linux/amd64/v3 linux/amd64", "linux/amd64"},
		{"linux/riscv64", "linux/amd64", ""},
	} {
		want, err := ParsePlatform(tt.want)
		if err != nil {
			t.Fatal(err)
		}
		var offered []Descriptor
		for _, s := range strings.Fields(tt.offered) {
			windows := strings.HasPrefix(s, "windows/") // images are offered for it, and never wanted
			p, err := ParsePlatform(strings.TrimPrefix(s, "windows/"))
			if err != nil {
				t.Fatal(err)
			}
			if windows {
				p.OS = "windows"
			}
			offered = append(offered, Descriptor{Platform: &p})
		}
		got, err := Choose(offered, want)
		if tt.chosen == "" != (err != nil) || err == nil && got.Platform.String() != tt.chosen {
			t.Errorf("%s of %s: %v, %v; want %s", tt.want, tt.offered, got.Platform, err, tt.chosen)
		}
	}
}

func TestParsePlatformRefuses(t *testing.T) {
	for _, tt := range []struct{ text, says string }{
		{"foo", "no architecture foo"},
		{"linux/foo", "no architecture foo"},
		{"windows/amd64", "images for windows don't run here"},
		{"linux/", "write it like linux/arm64"},
		{"a/b/c/d", "write it like linux/arm64"},
	} {
		if p, err := ParsePlatform(tt.text); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, %v; want an error that says %q", tt.text, p, err, tt.says)
		}
	}
}
