package container

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/clusterd/clusterd/unit"
)

// Convert makes a unit with a [Container] section of a docker or podman run
// command line, given as its words or as a whole in one. The notes say what was
// left out and why.
//
// An error that joins *unit.SyntaxError is about the unit: it can't run as it
// is, and the text is returned with it. With any other there is no text.
func Convert(args []string) (text string, notes []string, err error) {
	if len(args) == 1 {
		if args, err = shellWords(args[0]); err != nil {
			return "", nil, fmt.Errorf("convert: %w", err)
		}
	}
	tool, args, err := runOf(args)
	if err != nil {
		return "", nil, fmt.Errorf("convert: %w", err)
	}
	c := &converter{tool: tool}
	rest := c.parse(args)
	if err := c.image(rest); err != nil {
		return "", nil, fmt.Errorf("convert: %w", err)
	}
	return c.finish("")
}

// New makes a unit that runs a command in an image; an empty command is what
// the image says. The flags are those of docker run, each in one word, such as
// --env=A=b. Errors are as of Convert.
func New(name unit.Name, image string, command []string, flags ...string) (text string, notes []string, err error) {
	c := &converter{tool: "docker"}
	if rest := c.parse(flags); len(rest) > 0 {
		return "", nil, fmt.Errorf("make %s: %q is no flag; write it as --flag=value", name, rest[0])
	}
	if err := c.image(append([]string{image}, command...)); err != nil {
		return "", nil, fmt.Errorf("make %s: %w", name, err)
	}
	stem := strings.TrimSuffix(string(name), ".service")
	if c.name == "" && len(stem) >= 2 && len(stem) <= nameMax && strings.Trim(stem[:1], "_.-") != "" && !strings.ContainsFunc(stem, func(r rune) bool { return !nameRune(r) }) {
		c.name = stem
	}
	return c.finish(name)
}

// runOf finds the arguments of run in a command line.
func runOf(args []string) (tool string, rest []string, err error) {
	for len(args) > 0 && (args[0] == "sudo" || args[0] == "$" || args[0] == "#") {
		args = args[1:]
	}
	if len(args) == 0 {
		return "", nil, errors.New("there is no command line; give one such as docker run --name web nginx")
	}
	tool, rest = path.Base(args[0]), args[1:]
	if !slices.Contains([]string{"docker", "podman", "nsrun", "nerdctl"}, tool) {
		return "", nil, fmt.Errorf("%s is not docker, podman or nsrun; begin with docker run", clip(args[0]))
	}
	if len(rest) > 0 && rest[0] == "container" {
		rest = rest[1:]
	}
	if len(rest) == 0 || rest[0] != "run" {
		return "", nil, fmt.Errorf("only %s run makes a unit; begin with that, flags after it", tool)
	}
	return tool, rest[1:], nil
}

// setting is a line of the unit.
type setting struct{ section, key, value string }

type converter struct {
	tool     string
	name     string // of the container
	settings []setting
	what     string // image, for the description
	rootfs   bool   // the image is a directory
	memory   uint64 // bytes, of --memory and --memory-swap
	swap     string
	quota    int // µs, of --cpu-quota and --cpu-period
	period   int
	notes    []string
	errs     []error
}

func (c *converter) set(section, key, value string) {
	c.settings = append(c.settings, setting{section, key, value})
}

// key sets a key of [Container] that is taken as it stands.
func (c *converter) key(flag, key, value string) {
	quoted, err := bareQuote(literal(value))
	if err != nil {
		c.refuse(flag, err.Error(), "a unit has no place for it")
		return
	}
	c.set(Section, key, quoted)
}

// word adds a word to a key of [Container] that takes words.
func (c *converter) word(key, value string) {
	c.set(Section, key, quote(literal(value)))
}

func (c *converter) note(flag, why string) { c.notes = append(c.notes, flag+" is left out: "+why) }

func (c *converter) refuse(flag, why, fix string) {
	c.errs = append(c.errs, fmt.Errorf("%s: %s; %s", flag, why, fix))
}

// parse reads flags as docker does and returns what follows them.
func (c *converter) parse(args []string) (rest []string) {
	flags := c.flags()
	for len(args) > 0 {
		arg := args[0]
		if arg == "--" {
			return args[1:]
		}
		if len(arg) < 2 || arg[0] != '-' {
			return args
		}
		args = args[1:]
		if arg[1] != '-' {
			args = c.short(flags, arg[1:], args)
			continue
		}
		name, value, has := strings.Cut(arg[2:], "=")
		f, ok := flags[name]
		switch {
		case !ok:
			c.refuse("--"+name, "no flag of "+c.tool+" run's that is known here", "take it out, and see podman-systemd.unit(5) for what [Container] has")
		case f.switches:
			on, known := parseBoolean(value)
			if !has || known && on {
				f.do("--"+name, "")
			}
		case has:
			f.do("--"+name, value)
		default:
			args = c.take(f, "--"+name, args)
		}
	}
	return nil
}

// short reads flags of one letter each, as in -dit or -p80:80.
func (c *converter) short(flags flagSet, letters string, args []string) []string {
	for i := 0; i < len(letters); i++ {
		name := letters[i : i+1]
		f, ok := flags[name]
		value := strings.TrimPrefix(letters[i+1:], "=")
		switch {
		case !ok:
			c.refuse("-"+name, "no flag of "+c.tool+" run's that is known here", "take it out")
			return args
		case f.switches:
			f.do("-"+name, "")
			continue
		case value != "":
			f.do("-"+name, value)
			return args
		}
		return c.take(f, "-"+name, args)
	}
	return args
}

// take gives a flag the next argument.
func (c *converter) take(f option, name string, args []string) []string {
	if len(args) == 0 {
		c.refuse(name, "its value is missing", "write it behind the flag")
		return nil
	}
	f.do(name, args[0])
	return args[1:]
}

// image takes what follows the flags.
func (c *converter) image(rest []string) error {
	if len(rest) == 0 || rest[0] == "" {
		if len(c.errs) > 0 {
			return errors.Join(c.errs...)
		}
		return errors.New("no image follows the flags; write it behind them")
	}
	c.what = rest[0]
	key := "Image"
	if c.rootfs {
		key = "Rootfs"
	}
	c.key("the image", key, rest[0])
	if len(rest) > 1 {
		words := make([]string, len(rest)-1)
		for i, w := range rest[1:] {
			words[i] = literal(w)
		}
		c.set(Section, "Exec", quoteAll(words))
	}
	return errors.Join(c.errs...)
}

// finish writes the unit and has it rendered, to see whether it can run.
func (c *converter) finish(name unit.Name) (string, []string, error) {
	c.limits()
	if len(c.errs) > 0 {
		return "", nil, errors.Join(c.errs...)
	}
	if c.name != "" {
		c.key("--name", "ContainerName", c.name)
	}
	if len(c.errs) > 0 {
		return "", nil, errors.Join(c.errs...)
	}
	text := c.text()
	if name == "" {
		name = "container.service"
		if n, err := unit.ParseName(c.name + ".service"); c.name != "" && err == nil {
			name = n
		}
	}
	f, err := unit.Parse(string(name), []byte(text))
	if err != nil {
		return text, c.notes, err
	}
	r, err := Render(name, f)
	if err != nil {
		return text, c.notes, err
	}
	return text, append(c.notes, r.Notes...), nil
}

// text puts the sections together: what is run first.
func (c *converter) text() string {
	var b strings.Builder
	b.WriteString("[Unit]\nDescription=" + strings.Join(strings.Fields(strings.ReplaceAll(c.what, "%", "%%")), " ") + "\n")
	rank := func(s setting) int {
		first := []string{"Image", "Rootfs", "ContainerName", "Entrypoint", "Exec"}
		if at := slices.Index(first, s.key); at >= 0 {
			return at
		}
		return len(first)
	}
	sorted := slices.Clone(c.settings)
	slices.SortStableFunc(sorted, func(a, b setting) int { return rank(a) - rank(b) })
	for _, section := range []string{Section, "Service"} {
		header := "\n[" + section + "]\n"
		for _, s := range sorted {
			if s.section == section {
				b.WriteString(header + s.key + "=" + s.value + "\n")
				header = ""
			}
		}
	}
	return b.String()
}
