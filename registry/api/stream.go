package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// Local is what the API needs of the machine it runs on.
type Local interface {
	// Journal copies the unit's journal to w; with Follow, until ctx ends.
	Journal(ctx context.Context, name unit.Name, o JournalOptions, w io.Writer) error
	// Status writes what `systemctl status` does and returns its exit code.
	Status(ctx context.Context, name unit.Name, w io.Writer) (exit int, err error)
	// Verify writes what this machine's systemd says of unit files, a line each:
	// "name:line: what", with "warning: " in front of what is nothing worse. It
	// returns 0 when there is nothing but warnings, else 1. It runs nothing.
	Verify(ctx context.Context, r VerifyRequest, w io.Writer) (exit int, err error)
}

// remote is the Local of another machine.
type remote struct{ client *Client }

func (r remote) Journal(ctx context.Context, name unit.Name, o JournalOptions, w io.Writer) error {
	return r.client.LocalJournal(ctx, name, o, w)
}

func (r remote) Status(ctx context.Context, name unit.Name, w io.Writer) (int, error) {
	return r.client.LocalStatus(ctx, name, w)
}

func (r remote) Verify(ctx context.Context, v VerifyRequest, w io.Writer) (int, error) {
	return r.client.LocalVerify(ctx, v, w)
}

// stream is an answer that is sent as it comes. What goes wrong once it has
// begun is told in a trailer.
type stream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func openStream(w http.ResponseWriter, contentType string) *stream {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Trailer", trailerExit+", "+trailerProblem)
	w.WriteHeader(http.StatusOK)
	s := &stream{w: w, rc: http.NewResponseController(w)}
	_ = s.rc.Flush() // a broken connection shows at the first write
	return s
}

func (s *stream) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if err != nil {
		return n, err
	}
	return n, s.rc.Flush()
}

func (s *stream) end(exit int, err error) {
	s.w.Header().Set(trailerExit, strconv.Itoa(exit))
	if err == nil {
		return
	}
	if text, err := json.Marshal(problem(err).body()); err == nil {
		s.w.Header().Set(trailerProblem, string(text))
	}
}

const plainText = "text/plain; charset=utf-8"

func journalOptions(r *http.Request) (JournalOptions, error) {
	q := r.URL.Query()
	o := JournalOptions{Lines: -1, Output: q.Get("output"), Since: q.Get("since"), Follow: q.Get("follow") == "true"}
	if text := q.Get("lines"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			return o, badRequest("journal: lines=%s is no number", text)
		}
		o.Lines = n
	}
	return o, nil
}

func runsNothing() error {
	return &Problem{Status: http.StatusNotImplemented, Exit: ExitFailed, Message: "this clusterd runs no units"}
}

// localUnit is the name of a unit in the path of a local endpoint.
func (s *Server) localUnit(r *http.Request) (unit.Name, error) {
	if s.Local == nil {
		return "", runsNothing()
	}
	name, err := unit.ParseName(r.PathValue("unit"))
	if err != nil {
		return "", badRequest("%v", err)
	}
	return name, nil
}

func (s *Server) localJournal(w http.ResponseWriter, r *http.Request) error {
	name, err := s.localUnit(r)
	if err != nil {
		return err
	}
	o, err := journalOptions(r)
	if err != nil {
		return err
	}
	sendJournal(s.Local, name, o, w, r)
	return nil
}

func sendJournal(from Local, name unit.Name, o JournalOptions, w http.ResponseWriter, r *http.Request) {
	ctx, cancel := streamContext(r)
	defer cancel()
	out := openStream(w, plainText)
	err := from.Journal(ctx, name, o, out)
	if ctx.Err() != nil {
		err = nil // the reader left, or the server stops: that's how following ends
	}
	out.end(0, err)
}

func (s *Server) localStatus(w http.ResponseWriter, r *http.Request) error {
	name, err := s.localUnit(r)
	if err != nil {
		return err
	}
	out := openStream(w, plainText)
	out.end(s.Local.Status(r.Context(), name, out))
	return nil
}

// place is one machine a unit is on, and how to ask there.
type place struct {
	UnitState
	from Local
}

// places are the machines to ask about a unit: the one the caller chose, else
// all that are to have it, else all that are seen to.
func (s *Server) places(c *Control, r *http.Request) (Unit, []place, error) {
	name := unit.Name(r.PathValue("unit"))
	view, _, err := c.recentView(r.Context())
	if err != nil {
		return Unit{}, nil, err
	}
	p := c.picture(view, s.Now())
	u, ok := p.unit(name)
	if !ok {
		return u, nil, unknownUnit(name)
	}
	var chosen registry.MachineID
	if text := r.URL.Query().Get("machine"); text != "" {
		if chosen, err = p.find(text); err != nil {
			return u, nil, err
		}
	}
	var wanted, seen []place
	for _, state := range u.States {
		if chosen != "" && state.Machine != chosen {
			continue
		}
		at := place{UnitState: state, from: s.source(p, state.Machine)}
		seen = append(seen, at)
		if state.Assigned == TargetLoaded || state.Assigned == TargetLaunched {
			wanted = append(wanted, at)
		}
	}
	if chosen != "" && len(seen) == 0 {
		return u, nil, notFound("%s: it is not on machine %s; %s", name, chosen.Short(), whereIs(u))
	}
	if len(wanted) > 0 {
		return u, wanted, nil
	}
	return u, seen, nil
}

// whereIs says which machines a unit is on.
func whereIs(u Unit) string {
	if len(u.States) == 0 {
		text := "it is on no machine"
		if u.Target != "" {
			text += ", its target is " + u.Target
		}
		if u.Pending != nil {
			text += ": " + u.Pending.Text
		}
		return text
	}
	words := make([]string, len(u.States))
	for i, s := range u.States {
		words[i] = strings.TrimSpace(s.Machine.Short() + " " + s.Hostname)
	}
	return "it is on " + strings.Join(words, ", ")
}

// source is how to ask a machine about its units.
func (s *Server) source(p *picture, m registry.MachineID) Local {
	if m == s.Machine && s.Local != nil {
		return s.Local
	}
	info := p.machine(m)
	fail := func(err error) Local { return unreachable{err} }
	switch {
	case s.Peers == nil:
		return fail(refused("machine %s can't be asked: this clusterd has no certificate", m.Short()))
	case info.record.GetApi() == "":
		return fail(noAnswer("machine %s can't be asked: its address is not known", m.Short()))
	}
	client, err := s.Peers.Client(m, info.record.GetApi())
	if err != nil {
		return fail(err)
	}
	return remote{client}
}

// unreachable is a machine that can't be asked.
type unreachable struct{ err error }

func (u unreachable) Journal(context.Context, unit.Name, JournalOptions, io.Writer) error {
	return u.err
}

func (u unreachable) Status(context.Context, unit.Name, io.Writer) (int, error) { return 0, u.err }

func (u unreachable) Verify(context.Context, VerifyRequest, io.Writer) (int, error) {
	return 0, u.err
}

func (s *Server) unitJournal(c *Control, w http.ResponseWriter, r *http.Request) error {
	o, err := journalOptions(r)
	if err != nil {
		return err
	}
	u, places, err := s.places(c, r)
	switch {
	case err != nil:
		return err
	case len(places) == 0:
		return conflict("journal of %s: %s", u.Name, whereIs(u))
	case len(places) > 1:
		return badRequest("journal of %s: %s; choose one with --machine", u.Name, whereIs(u))
	}
	sendJournal(places[0].named(), u.Name, o, w, r)
	return nil
}

func (s *Server) unitStatus(c *Control, w http.ResponseWriter, r *http.Request) error {
	u, places, err := s.places(c, r)
	if err != nil {
		return err
	}
	out := openStream(w, plainText)
	if len(places) == 0 {
		fmt.Fprintf(out, "%s - %s\n     Loaded: not loaded; %s\n", u.Name, u.Description, whereIs(u))
		out.end(ExitInactive, nil)
		return nil
	}
	exit := 0
	var last error
	for i, at := range places {
		if len(places) > 1 {
			fmt.Fprintf(out, "%smachine %s %s (%s)\n", strings.Repeat("\n", min(i, 1)), at.Machine.Short(), at.Hostname, at.MachineIs)
		}
		code, err := at.named().Status(r.Context(), u.Name, out)
		if err != nil && len(places) > 1 {
			fmt.Fprintf(out, "%v\n", err)
		}
		if err != nil {
			last = err
		}
		exit = max(exit, code)
	}
	out.end(exit, last)
	return nil
}

// named is the place's source, with the machine in its errors.
func (p place) named() Local { return namedSource{p} }

type namedSource struct{ place }

func (n namedSource) Journal(ctx context.Context, name unit.Name, o JournalOptions, w io.Writer) error {
	return n.name(n.from.Journal(ctx, name, o, w))
}

func (n namedSource) Status(ctx context.Context, name unit.Name, w io.Writer) (int, error) {
	exit, err := n.from.Status(ctx, name, w)
	return exit, n.name(err)
}

func (n namedSource) Verify(ctx context.Context, r VerifyRequest, w io.Writer) (int, error) {
	exit, err := n.from.Verify(ctx, r, w)
	return exit, n.name(err)
}

func (n namedSource) name(err error) error {
	if err == nil {
		return nil
	}
	if n.MachineIs == StateAlive {
		return fmt.Errorf("machine %s %s: %w", n.Machine.Short(), n.Hostname, err)
	}
	return fmt.Errorf("machine %s %s, which is %s: %w", n.Machine.Short(), n.Hostname, n.MachineIs, err)
}
