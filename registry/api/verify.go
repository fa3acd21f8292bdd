package api

import (
	"bytes"
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

// verify refuses what submitting would, then has a machine's systemd look.
func (s *Server) verify(c *Control, w http.ResponseWriter, r *http.Request) error {
	in, parsed, err := readVerify(r)
	if err != nil {
		return err
	}
	view, _, err := c.recentView(r.Context())
	if err != nil {
		return err
	}
	notes, err := verifyNotes(in, parsed, newFleet(view))
	if err != nil {
		return err
	}
	p := c.picture(view, s.Now())
	m := s.Machine
	if in.Machine != "" {
		if m, err = p.find(string(in.Machine)); err != nil {
			return err
		}
	} else if s.Local == nil {
		return runsNothing()
	}
	out := openStream(w, plainText)
	_, _ = io.WriteString(out, notes) // if the caller left, so it is below
	out.end(s.at(p, m).Verify(r.Context(), in, out))
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
		anywhere := checkFile(name, f, nil, in.AllowUnknown) // the caller has seen that
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

// verifyWait is how long a change waits for a machine's systemd to look at its
// files. After that the machines look that the units come to.
const verifyWait = 20 * time.Second

// verify has systemd look at the files that are new to their units, each on a
// machine that the unit may come to: this one, if it does. What systemd would
// refuse or ignore is the error. When it can't be asked, that is noted.
func (c *checked) verify(ctx context.Context, s *Server, p *picture, fleet fleet) error {
	at := map[registry.MachineID]*VerifyRequest{}
	asked := map[unit.Hash]bool{} // instances of a template have one file
	machines := map[registry.MachineID]runs{}
	var order []registry.MachineID
	for _, change := range c.fresh {
		if asked[change.File] {
			continue
		}
		asked[change.File] = true
		m, ok := fleet.verifier(change.Name, c.parsed[change.Name], s.Machine)
		if !ok {
			continue // no machine is alive: whoever comes to have it will look
		}
		if at[m.id] == nil {
			at[m.id] = &VerifyRequest{AllowUnknown: c.AllowUnknown, Alone: true}
			machines[m.id], order = m, append(order, m.id)
		}
		at[m.id].Files = append(at[m.id].Files, VerifyFile{Name: change.Name, File: c.Files[change.File]})
	}
	ctx, cancel := context.WithTimeout(ctx, verifyWait)
	defer cancel()
	var bad []string
	for _, id := range order {
		var said []string
		var err error
		for _, m := range fleet.like(machines[id]) {
			if said, err = c.ask(ctx, s.at(p, m.id), m, *at[id]); err == nil {
				break
			}
		}
		if err != nil {
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
	var out bytes.Buffer
	if _, err := at.Verify(ctx, r, &out); err != nil {
		return nil, err
	}
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSpace(line)
		text, warning := strings.CutPrefix(line, "warning: ")
		if said := m.says(text); warning {
			c.notes = append(c.notes, said)
		} else if line != "" {
			bad = append(bad, said)
		}
	}
	for _, f := range r.Files {
		c.verifiedBy[unit.HashOf(f.File)] = m.version
	}
	return bad, nil
}

// says puts the machine into what its systemd said: "name:line: what".
func (m runs) says(text string) string {
	where, what, ok := strings.Cut(text, ": ")
	if !ok {
		where, what = "", text
	}
	return strings.TrimSpace(fmt.Sprintf("%s: systemd %d on %s: %s", where, m.systemd, m.machine, what))
}
