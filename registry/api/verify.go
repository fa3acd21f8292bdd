package api

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// readVerify takes a call's body, with the files parsed.
func readVerify(r *http.Request) (VerifyRequest, []*unit.File, error) {
	in, err := read[VerifyRequest](r)
	if err != nil {
		return in, nil, err
	}
	if len(in.Files) == 0 {
		return in, nil, badRequest("verify: no files are given")
	}
	var parsed []*unit.File
	seen := map[unit.Name]bool{}
	for i := range in.Files {
		file := &in.Files[i]
		full, err := unit.ParseName(string(file.Name))
		if err != nil {
			return in, nil, badRequest("%v", err)
		}
		if seen[full] {
			return in, nil, badRequest("verify: %s is named twice", full)
		}
		seen[full], file.Name = true, full
		f, err := unit.Parse(string(full), file.File)
		if err != nil {
			return in, nil, badRequest("%v", err)
		}
		parsed = append(parsed, f)
	}
	return in, parsed, nil
}

// verify refuses what submitting would, then has a machine's systemd look: the
// one that is named, or those that would look if the files were submitted.
func (s *Server) verify(c *Control, w http.ResponseWriter, r *http.Request) error {
	in, parsed, err := readVerify(r)
	if err != nil {
		return err
	}
	view, _, err := c.recentView(r.Context())
	if err != nil {
		return err
	}
	fleet := newFleet(view)
	notes, err := verifyNotes(in, parsed, fleet)
	if err != nil {
		return err
	}
	p := c.picture(view, s.Now())
	errands := []errand{{to: runs{id: s.Machine}, request: in}}
	if in.Machine != "" {
		if errands[0].to.id, err = p.find(string(in.Machine)); err != nil {
			return err
		}
	} else if split := fleet.split(in, parsed, s.Machine); len(split) > 0 {
		errands = split
	} else if s.Local == nil {
		return runsNothing()
	}
	out := openStream(w, plainText)
	_, _ = io.WriteString(out, notes) // if the caller left, so it is below
	exit := 0
	for _, e := range errands {
		others := []runs{e.to}
		if in.Machine == "" {
			others = fleet.like(e.to)
		}
		var first error
		for _, m := range others {
			var said bytes.Buffer
			code, err := s.at(p, m.id).Verify(r.Context(), e.request, &said)
			if err != nil {
				first = cmp.Or(first, err)
				continue
			}
			first, exit = nil, max(exit, code)
			_, _ = out.Write(said.Bytes()) // if the caller left, so it is below
			break
		}
		if first != nil {
			out.end(exit, first)
			return nil
		}
	}
	out.end(exit, nil)
	return nil
}

// verifyNotes is what some machines' systemd would have against the files and
// the newest one hasn't, a line each; the error is what submitting would say.
func verifyNotes(in VerifyRequest, parsed []*unit.File, fleet fleet) (string, error) {
	var notes strings.Builder
	for i, f := range parsed {
		name := in.Files[i].Name
		problems := checkFile(name, f, fleet, in.AllowUnknown)
		if err := unit.Errors(problems); err != nil {
			return "", badRequest("%v", err)
		}
		anywhere := checkFile(name, f, fleetOf(nil), in.AllowUnknown) // the caller has seen that
		for _, p := range problems {
			if !slices.Contains(anywhere, p) {
				fmt.Fprintln(&notes, p)
			}
		}
	}
	return notes.String(), nil
}

// at is how to ask a machine; its errors name it.
func (s *Server) at(p *picture, m registry.MachineID) Local {
	info := p.machine(m)
	here := place{UnitState: UnitState{Machine: m, Hostname: info.record.GetHostname(), MachineIs: info.state}, from: s.source(p, m)}
	return here.named()
}

func (s *Server) localVerify(w http.ResponseWriter, r *http.Request) error {
	in, _, err := readVerify(r)
	if err != nil {
		return err
	}
	if s.Local == nil {
		return runsNothing()
	}
	out := openStream(w, plainText)
	out.end(s.Local.Verify(r.Context(), in, out))
	return nil
}

// verifyWait is how long a change waits for machines' systemds to look at its
// files, and askWait how long for one of them. After that the machines look that
// the units come to.
const (
	verifyWait = 20 * time.Second
	askWait    = 6 * time.Second
)

// verify has systemd look at the files that are new to their units, each on a
// machine that the unit may come to: this one, if it does. What systemd would
// refuse or ignore is the error. When it can't be asked, that is noted.
func (c *checked) verify(ctx context.Context, s *Server, p *picture, fleet fleet) error {
	request := VerifyRequest{AllowUnknown: c.AllowUnknown, Alone: true}
	var parsed []*unit.File
	asked := map[unit.Hash]bool{} // instances of a template have one file
	for _, change := range c.fresh {
		if !asked[change.File] {
			asked[change.File] = true
			request.Files = append(request.Files, VerifyFile{Name: change.Name, File: c.Files[change.File]})
			parsed = append(parsed, c.parsed[change.Name])
		}
	}
	ctx, cancel := context.WithTimeout(ctx, verifyWait)
	defer cancel()
	var bad []string
	for _, e := range fleet.split(request, parsed, s.Machine) {
		var said []string
		var first error
		for _, m := range fleet.like(e.to) {
			var err error
			if said, err = c.ask(ctx, s.at(p, m.id), m, e.request); err == nil {
				first = nil
				break
			}
			first = cmp.Or(first, err)
		}
		if err := first; err != nil {
			c.notes = append(c.notes, fmt.Sprintf("systemd has not looked at the files yet, and will before the units start: %v", err))
			continue
		}
		bad = append(bad, said...)
	}
	if len(bad) > 0 {
		return badRequest("%s", strings.Join(bad, "\n"))
	}
	return nil
}

// ask has one machine's systemd look at files. What is wrong with them is
// returned, a line each; what is worth a warning is noted.
func (c *checked) ask(ctx context.Context, at Local, m runs, r VerifyRequest) (bad []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	var out bytes.Buffer
	if _, err := at.Verify(ctx, r, &out); err != nil {
		return nil, err
	}
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSpace(line)
		text, warning := strings.CutPrefix(line, "warning: ")
		said, where := m.says(text)
		known := func(note string) bool { return strings.Contains(where, ":") && strings.HasPrefix(note, where+":") }
		if warning && !slices.ContainsFunc(c.notes, known) { // of its line we have said it ourselves
			c.notes = append(c.notes, said)
		} else if line != "" && !warning {
			bad = append(bad, said)
		}
	}
	for _, f := range r.Files {
		c.verifiedBy[unit.HashOf(f.File)] = m.version
	}
	return bad, nil
}

// says puts the machine into what its systemd said, "name:line: what" or "name:
// what"; where is what stands before the blank.
func (m runs) says(text string) (said, where string) {
	where, what, ok := strings.Cut(text, ": ")
	if !ok || strings.ContainsAny(where, " ") {
		return fmt.Sprintf("systemd %d on %s: %s", m.systemd, m.machine, text), text
	}
	return fmt.Sprintf("%s: systemd %d on %s: %s", where, m.systemd, m.machine, what), where
}
