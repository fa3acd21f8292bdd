package image

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/clusterd/clusterd/agent/sheet"
)

// PolicyFile is where this machine's rules for images are.
const PolicyFile = "/etc/nsrun/policy.conf"

// ErrRefused says that the machine's policy, or a flag, forbids an image.
var ErrRefused = errors.New("refused")

// Policy is what policy.conf says. The zero value allows everything and removes nothing.
type Policy struct {
	RequireDigest bool // of images that are pulled from registries or run

	MaxBytes int64         // of layers, kept after a pull; 0: no bound
	MaxAge   time.Duration // since an image was last pulled or used; 0: no bound

	file        string
	requireLine int
	allow       []rule
	block       []rule
	archives    string // "", yes or no
	archiveLine int
}

// rule is one Allow= or Block=.
type rule struct {
	pattern string
	line    int
}

// LoadPolicy reads the file at path. One that isn't there allows everything.
func LoadPolicy(path string) (*Policy, error) {
	data, err := sheet.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Policy{file: path}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	return ParsePolicy(path, data)
}

// ParsePolicy reads the content of a policy.conf; file is its name in errors. The
// form is in the package's documentation.
func ParsePolicy(file string, data []byte) (*Policy, error) {
	p := &Policy{file: file}
	section := ""
	err := eachLine(file, data, func(number int, line string) error {
		if line[0] == '[' {
			section = line
			if section != "[Policy]" && section != "[Store]" {
				return fmt.Errorf("unknown section %s; there are [Policy] and [Store]", line)
			}
			return nil
		}
		key, value, err := setting(line, section != "", "[Policy] or [Store]")
		switch {
		case err != nil:
			return err
		case section == "[Policy]":
			return p.set(key, value, number)
		}
		return p.setStore(key, value)
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Policy) set(key, value string, line int) (err error) {
	switch key {
	case "Allow", "Block":
		if err := checkPattern(value); err != nil {
			return fmt.Errorf("%s=%s: %w", key, value, err)
		}
		if key == "Allow" {
			p.allow = append(p.allow, rule{value, line})
		} else {
			p.block = append(p.block, rule{value, line})
		}
	case "RequireDigest":
		p.requireLine = line
		p.RequireDigest, err = yesNo(key, value)
	case "Archives":
		p.archives, p.archiveLine = value, line
		_, err = yesNo(key, value)
	default:
		err = fmt.Errorf("unknown key %s=; known are Allow=, Block=, RequireDigest=, Archives=", key)
	}
	return err
}

func (p *Policy) setStore(key, value string) (err error) {
	switch key {
	case "MaxSize":
		if p.MaxBytes, err = ParseSize(value); err != nil {
			return fmt.Errorf("%s=%s: %w", key, value, err)
		}
	case "MaxAge":
		if p.MaxAge, err = ParseAge(value); err != nil {
			return fmt.Errorf("%s=%s: %w", key, value, err)
		}
	default:
		err = fmt.Errorf("unknown key %s=; known are MaxSize=, MaxAge=", key)
	}
	return err
}

func yesNo(key, value string) (bool, error) {
	switch strings.ToLower(value) {
	case "yes", "true", "on", "1":
		return true, nil
	case "no", "false", "off", "0":
		return false, nil
	}
	return false, fmt.Errorf("%s=%s: yes or no", key, value)
}

// ParseSize reads 500M, 10G, 1.5GB: powers of 1024, as systemd counts.
func ParseSize(s string) (int64, error) {
	number := strings.TrimRight(strings.TrimSuffix(strings.TrimSuffix(s, "B"), "b"), "kKmMgGtTi")
	shift, ok := map[string]uint{"": 0, "k": 10, "m": 20, "g": 30, "t": 40}[strings.TrimSuffix(strings.TrimRight(strings.ToLower(s[len(number):]), "b"), "i")]
	n, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !(n >= 0 && n < 1<<20) && shift > 0 || !(n >= 0 && n < 1<<62) {
		return 0, errors.New("write a number with K, M, G or T, such as 10G")
	}
	return int64(n * float64(int64(1)<<shift)), nil
}

// ParseAge reads 24h, 90m, and 30d or 2w besides.
func ParseAge(s string) (time.Duration, error) {
	for unit, long := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if number, ok := strings.CutSuffix(s, unit); ok {
			if n, err := strconv.ParseUint(number, 10, 12); err == nil {
				return time.Duration(n) * long, nil
			}
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, errors.New("write a duration such as 30d, 24h or 90m")
	}
	return d, nil
}

// Check returns ErrRefused, with the line that says so, unless the image called
// ref may be pulled and run here. A Block= wins over every Allow=.
func (p *Policy) Check(ref Reference) error {
	name := ref.Registry + "/" + ref.Repository
	for _, r := range p.block {
		if matches(r.pattern, name) {
			return fmt.Errorf("%w: %s:%d: Block=%s", ErrRefused, p.file, r.line, r.pattern)
		}
	}
	for _, r := range p.allow {
		if matches(r.pattern, name) {
			return nil
		}
	}
	if len(p.allow) > 0 {
		return fmt.Errorf("%w: %s:%d: no Allow= there matches %s", ErrRefused, p.file, p.allow[0].line, name)
	}
	return nil
}

// Admit is Check and then CheckPinned.
func (p *Policy) Admit(ref Reference, pinned bool) error {
	if err := p.Check(ref); err != nil {
		return err
	}
	return p.CheckPinned(ref, pinned)
}

// CheckPinned returns ErrRefused when a digest is required, by policy or by
// flag, and ref has none.
func (p *Policy) CheckPinned(ref Reference, byFlag bool) error {
	switch {
	case ref.Digest != "":
		return nil
	case byFlag:
		return fmt.Errorf("%w: --require-digest: write %s@sha256:…; see nsrun images --digests", ErrRefused, ref.FamiliarName())
	case p.RequireDigest:
		return fmt.Errorf("%w: %s:%d: RequireDigest=yes: write %s@sha256:…; see nsrun images --digests", ErrRefused, p.file, p.requireLine, ref.FamiliarName())
	}
	return nil
}

// CheckArchive returns ErrRefused unless images may come from files. Where Allow= says
// which registries are good that must be said, too, since a file vouches for no registry.
func (p *Policy) CheckArchive() error {
	if p.archives != "" {
		if yes, _ := yesNo("", p.archives); !yes {
			return fmt.Errorf("%w: %s:%d: Archives=%s", ErrRefused, p.file, p.archiveLine, p.archives)
		}
		return nil
	}
	if len(p.allow) > 0 {
		return fmt.Errorf("%w: %s:%d: Allow= names registries, and a file vouches for none; to let files in put Archives=yes there", ErrRefused, p.file, p.allow[0].line)
	}
	return nil
}

// checkPattern wants HOST, or HOST/PART/…, where * stands for any characters
// of a part and ** for any at all.
func checkPattern(pattern string) error {
	for _, c := range []byte(pattern) {
		if !isLower(c) && !isUpper(c) && !isDigit(c) && !strings.ContainsRune("*/.:_-[]", rune(c)) {
			return fmt.Errorf("%q is in no image's name; write HOST or HOST/NAME, with * or **", c)
		}
	}
	host, name, cut := strings.Cut(pattern, "/")
	if cut && name == "" || host == "" {
		return errors.New("write HOST or HOST/NAME, with * or **")
	}
	if !strings.ContainsAny(host, ".:*") && host != "localhost" {
		return fmt.Errorf("%s is no registry; docker's is docker.io, and busybox docker.io/library/busybox", host)
	}
	return nil
}

// matches says whether name, HOST/REPOSITORY, fits the pattern. A pattern
// without a slash is a whole registry.
func matches(pattern, name string) bool {
	if !strings.Contains(pattern, "/") {
		pattern += "/**"
	}
	return glob(pattern, name)
}

// glob matches * against anything but a slash and ** against anything.
func glob(pattern, s string) bool {
	star := strings.IndexByte(pattern, '*')
	if star < 0 {
		return pattern == s
	}
	if !strings.HasPrefix(s, pattern[:star]) {
		return false
	}
	rest, deep := strings.CutPrefix(pattern[star:], "**")
	if !deep {
		rest = pattern[star+1:]
	}
	for s = s[star:]; ; s = s[1:] {
		if glob(rest, s) {
			return true
		}
		if s == "" || !deep && s[0] == '/' {
			return false
		}
	}
}
