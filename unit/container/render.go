package container

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/clusterd/clusterd/unit"
)

// Section is the name of the section that Render stands for; Suffix ends the
// name of a file that is podman's Quadlet for a container.
const (
	Section = "Container"
	Suffix  = ".container"
)

// Program is the container runtime, as rendered units call it.
const Program = "/usr/bin/nsrun"

// hidden is what is put before the name of a section to make systemd skip it:
// of Section, and of quadlet, which holds podman's own settings.
const (
	hidden  = "X-"
	quadlet = "Quadlet"
)

// The line between the user's text and what is added, with the hash of the
// user's file between the two.
const (
	standsBefore = "\n# [Container] of the file "
	standsAfter  = " stands for:\n"
)

// Rendered is what a unit with a [Container] section becomes.
type Rendered struct {
	// Text is a service as systemd takes it.
	Text []byte
	// Lines has, for each line of Text, the line of the user's file that it is
	// or stands for, both counted from 1; the first is Lines[0].
	Lines []int
	// Images are to be on the machine before the unit starts. One that depends
	// on what only the machine knows is left to the start itself.
	Images []string
	// Refresh says that the images are to be pulled even if they are there.
	Refresh bool
	// Notes are about what the user may not expect, in the form
	// "name:line: what; fix".
	Notes []string

	notes []unit.SyntaxError // the same, for Check
}

// Has says whether a unit file is one that Render is for.
func Has(f *unit.File) bool { return slices.Contains(f.Sections(), Section) }

// ServiceName is the name of the unit that a file makes: web.container makes
// web.service. It is false for a name with another suffix.
func ServiceName(file string) (unit.Name, bool) {
	stem, ok := strings.CutSuffix(file, Suffix)
	if !ok {
		return "", false
	}
	name, err := unit.ParseName(stem + ".service")
	return name, err == nil
}

// Render returns the service that a unit with a [Container] section stands for.
// The name is the unit's, such as web.service, or that of a .container file. The
// error joins a *unit.SyntaxError for each thing wrong, in the order of lines.
func Render(name unit.Name, f *unit.File) (*Rendered, error) {
	r := &renderer{file: string(name), unit: name, f: f, lines: lines(f.Bytes())}
	if service, ok := ServiceName(string(name)); ok {
		r.unit = service
	}
	r.check()
	if len(r.errs) > 0 {
		return nil, r.failed()
	}
	r.keys()
	r.quadlet()
	r.service()
	if len(r.errs) > 0 {
		return nil, r.failed()
	}
	rendered := r.assemble()
	if len(rendered.Text) > unit.FileMax {
		r.fail(r.header, fmt.Sprintf("rendered for systemd the unit has %d bytes, more than the %d it may have", len(rendered.Text), unit.FileMax), "keep large data in a file of its own on the machines")
		return nil, r.failed()
	}
	return rendered, nil
}

type renderer struct {
	file   string // as errors call it
	unit   unit.Name
	f      *unit.File
	lines  []line
	header int // line of [Container]

	name     string // --name
	flags    []part // of nsrun run
	program  []part // image and arguments
	settings []part // further lines of [Service]
	reload   reload
	images   []string
	refresh  bool
	notes    []unit.SyntaxError
	errs     []*unit.SyntaxError
}

// part is a piece of the rendered text and the user's line it stands for.
type part struct {
	text string
	line int
}

func (r *renderer) fail(line int, what, fix string) {
	r.errs = append(r.errs, &unit.SyntaxError{File: r.file, Line: line, What: what, Fix: fix})
}

func (r *renderer) note(line int, what, fix string) {
	r.notes = append(r.notes, unit.SyntaxError{File: r.file, Line: line, What: what, Fix: fix})
}

// failed joins the errors in the order of their lines.
func (r *renderer) failed() error {
	sort.SliceStable(r.errs, func(i, j int) bool { return r.errs[i].Line < r.errs[j].Line })
	all := make([]error, len(r.errs))
	for i, e := range r.errs {
		all[i] = e
	}
	return errors.Join(all...)
}

// check looks at what must be so before the keys make sense.
func (r *renderer) check() {
	for _, l := range r.lines {
		if l.header >= 0 && l.section == Section && r.header == 0 {
			r.header = l.first
		}
	}
	switch {
	case r.header == 0:
		r.fail(0, "it has no [Container] section", "put one into it, with Image= and what else podman's Quadlet has there")
	case slices.Contains(r.f.Sections(), hidden+Section):
		r.fail(r.header, "[Container] becomes [X-Container] for systemd, and there is one already", "rename one of them, or drop it")
	case slices.Contains(r.f.Sections(), hidden+quadlet):
		r.fail(r.header, "beside [Container], [X-Quadlet] is what a [Quadlet] section becomes", "rename it, or drop it")
	case r.unit.Type() != "service":
		r.fail(r.header, "[Container] makes a service, and this is a ."+r.unit.Type(), "name the unit "+r.unit.Prefix()+".service")
	}
}

// quadlet looks at podman's settings for Quadlet itself. What the only one asks
// for, or not, is that the unit waits for the network; images are pulled before
// it starts anyway.
func (r *renderer) quadlet() {
	for _, l := range r.lines {
		name := l.key()
		if l.section != quadlet || name == "" {
			continue
		}
		_, value, _ := strings.Cut(l.text, "=")
		value = strings.Trim(value, blank)
		if name != "DefaultDependencies" {
			r.fail(l.first, fmt.Sprintf("[Quadlet] has no key %s=", clip(name)), "it has DefaultDependencies= only")
		} else if _, ok := parseBoolean(value); !ok && value != "" {
			r.fail(l.first, name+"="+clip(value)+" is neither yes nor no", "write one of them")
		}
	}
}

// keys reads the section, key by key.
func (r *renderer) keys() {
	known := keys()
	for _, l := range r.lines {
		name := l.key()
		if l.section != Section || name == "" {
			continue
		}
		if _, ok := known[name]; !ok {
			r.fail(l.first, fmt.Sprintf("[Container] has no key %s=", clip(name)), didYouMean(name, known))
		}
	}
	for _, name := range r.f.Keys(Section) {
		values := r.f.Values(Section, name)
		k, ok := known[name]
		switch {
		case !ok || len(values) == 0:
		case k.why != "":
			r.fail(values[0].Line, name+"= can't be had", k.why)
		default:
			k.do(r, name, values)
		}
	}
	r.identity()
	r.together()
}

// identity is what the container is called and what runs in it.
func (r *renderer) identity() {
	image, isImage := r.f.Last(Section, "Image")
	root, isRoot := r.f.Last(Section, "Rootfs")
	switch {
	case isImage && isRoot:
		r.fail(max(image.Line, root.Line), fmt.Sprintf("Image= (line %d) and Rootfs= (line %d) both say what to run", image.Line, root.Line), "keep one of them")
	case !isImage && !isRoot:
		r.fail(r.header, "[Container] does not say what to run", "put Image= into it, or Rootfs=")
	}
	if r.name == "" {
		r.name = defaultName(r.unit)
	}
	first := part{"--name=" + r.name, r.header}
	if v, ok := r.f.Last(Section, "ContainerName"); ok {
		first.line = v.Line
	}
	r.flags = append([]part{first, {"--rm", r.header}}, r.flags...)
}

// defaultName is what Quadlet calls the container of a unit without a
// ContainerName=, as a specifier where that gives a name that nsrun takes.
func defaultName(u unit.Name) string {
	stem := strings.TrimSuffix(string(u), ".service")
	name, specifier := "systemd-"+stem, "systemd-%N"
	if prefix, instance, ok := strings.Cut(stem, "@"); ok {
		name, specifier = "systemd-"+prefix+"_"+instance, "systemd-%p_%i"
	}
	clean := strings.Map(func(c rune) rune {
		if nameRune(c) {
			return c
		}
		return '_'
	}, name)
	if len(clean) > nameMax {
		clean = clean[:nameMax]
	}
	if clean == name {
		return specifier
	}
	return clean
}

const nameMax = 200 // bytes of a container's name

func nameRune(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("_.-", c)
}

// service looks at [Service], which is the user's, and adds to it.
func (r *renderer) service() {
	if v, ok := r.f.Last("Service", "ExecStart"); ok {
		r.fail(v.Line, fmt.Sprintf("ExecStart= stands beside [Container] (line %d), which says itself what is run", r.header), "drop one of them; what to run in the container is Exec=")
	}
	if v, ok := r.f.Last("Service", "Type"); ok && !slices.Contains([]string{"notify", "oneshot", "simple", "exec"}, v.Text) {
		r.fail(v.Line, "Type="+clip(v.Text)+" does not go with [Container]", "leave Type= out, or use notify or oneshot")
	}
	var add []part
	for _, d := range [][2]string{{"Type", "notify"}, {"NotifyAccess", "main"}, {"KillMode", "mixed"}, {"SyslogIdentifier", "%N"}} {
		set := slices.ContainsFunc(r.settings, func(s part) bool { return strings.HasPrefix(s.text, d[0]+"=") })
		if _, ok := r.f.Last("Service", d[0]); !ok && !set {
			add = append(add, part{d[0] + "=" + d[1], r.header})
		}
	}
	r.settings = append(add, r.settings...)
}

// set adds a line to [Service] that stands for a key; one the user wrote there
// himself clashes.
func (r *renderer) set(v unit.Value, from, key, value string) {
	if own, ok := r.f.Last("Service", key); ok {
		r.fail(max(own.Line, v.Line), fmt.Sprintf("%s= (line %d) and [Service] %s= (line %d) say the same thing", from, v.Line, key, own.Line), "keep "+key+"=")
		return
	}
	r.settings = append(r.settings, part{key + "=" + value, v.Line})
}

// assemble puts the text together.
func (r *renderer) assemble() *Rendered {
	out := &Rendered{Images: r.images, Refresh: r.refresh, notes: r.notes}
	for _, n := range r.notes {
		out.Notes = append(out.Notes, n.Error())
	}
	var b bytes.Buffer
	r.copyHidden(&b)
	for n := range lineCount(b.Bytes()) {
		out.Lines = append(out.Lines, n+1)
	}
	add := func(line int, text string) {
		b.WriteString(text)
		b.WriteByte('\n')
		out.Lines = append(out.Lines, line)
	}
	last := len(out.Lines)
	add(last, "") // ends a line that the user continued
	stands := standsBefore + string(r.f.Hash()) + standsAfter
	add(r.header, strings.Trim(stands, "\n"))
	add(r.header, "[Service]")
	for _, s := range r.settings {
		add(s.line, s.text)
	}
	name := quote(r.name)
	add(r.header, "ExecStartPre=-"+Program+" rm --force "+name)
	if r.refresh {
		add(r.program[0].line, "ExecStartPre="+Program+" pull "+r.program[0].text)
	}
	add(r.header, "ExecStart="+Program+` run \`)
	sort.SliceStable(r.flags, func(i, j int) bool { return r.flags[i].line < r.flags[j].line })
	for _, f := range r.flags {
		add(f.line, "    "+quote(f.text)+` \`)
	}
	for i, p := range r.program {
		end := ` \`
		if i == len(r.program)-1 {
			end = ""
		}
		add(p.line, "    "+p.text+end)
	}
	if r.reload.before != "" {
		add(r.reload.line, "ExecReload="+Program+" "+r.reload.before+" "+name+r.reload.after)
	}
	add(r.header, "ExecStop=-"+Program+" stop "+name)
	out.Text = b.Bytes()
	return out
}

// copyHidden copies the user's text with the sections for containers renamed,
// so that systemd skips them, and sees that it ends with a line.
func (r *renderer) copyHidden(b *bytes.Buffer) {
	src := r.f.Bytes()
	at := 0
	for _, l := range r.lines {
		if l.header >= 0 && (l.section == Section || l.section == quadlet) {
			b.Write(src[at : l.header+1])
			b.WriteString(hidden)
			at = l.header + 1
		}
	}
	b.Write(src[at:])
	if src[len(src)-1] != '\n' {
		b.WriteByte('\n')
	}
}

// Source returns the user's file that Render made text of, or false when the
// text is another, or the user's part of it was changed.
func Source(text []byte) ([]byte, bool) {
	at := bytes.LastIndex(text, []byte(standsBefore))
	if at < 0 {
		return nil, false
	}
	hash, _, _ := strings.Cut(string(text[at+len(standsBefore):]), standsAfter)
	var src []byte
	shown := text[:at]
	from := 0
	for _, l := range lines(shown) {
		if l.header >= 0 && (l.section == hidden+Section || l.section == hidden+quadlet) {
			src = append(src, shown[from:l.header+1]...)
			from = l.header + 1 + len(hidden)
		}
	}
	src = append(src, shown[from:]...)
	for _, candidate := range [][]byte{src, bytes.TrimSuffix(src, []byte("\n"))} {
		if string(unit.HashOf(candidate)) == hash {
			return candidate, true
		}
	}
	return nil, false
}

func lineCount(text []byte) int {
	n := 0
	for at := 0; at < len(text); n++ {
		_, length := cutLine(text[at:])
		at += length
	}
	return n
}

// clip quotes and shortens what an error repeats.
func clip(s string) string {
	const shown = 60
	if len(s) > shown {
		return fmt.Sprintf("%q...", s[:shown])
	}
	if strings.ContainsFunc(s, special) {
		return fmt.Sprintf("%q", s)
	}
	return s
}
