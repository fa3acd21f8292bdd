package api

import (
	"net/http"

	"github.com/clusterd/clusterd/unit"
)

// readVerify takes a call's body, with the file parsed.
func readVerify(r *http.Request) (VerifyRequest, *unit.File, error) {
	in, err := read[VerifyRequest](r)
	if err != nil {
		return in, nil, err
	}
	full, err := unit.ParseName(string(in.Name))
	if err != nil {
		return in, nil, badRequest("%v", err)
	}
	in.Name = full
	f, err := unit.Parse(string(full), in.File)
	if err != nil {
		return in, nil, badRequest("%v", err)
	}
	return in, f, nil
}

// verify refuses what submitting would, then has a machine's systemd look.
func (s *Server) verify(c *Control, w http.ResponseWriter, r *http.Request) error {
	in, f, err := readVerify(r)
	if err != nil {
		return err
	}
	view, _, err := c.recentView(r.Context())
	if err != nil {
		return err
	}
	if err := unit.Errors(checkFile(in.Name, f, oldestSystemd(view), in.AllowUnknown)); err != nil {
		return badRequest("%v", err)
	}
	if in.Machine == "" {
		return s.verifyHere(in, w, r)
	}
	p := c.picture(view, s.Now())
	m, err := p.find(string(in.Machine))
	if err != nil {
		return err
	}
	info := p.machine(m)
	at := place{UnitState: UnitState{Machine: m, Hostname: info.record.GetHostname(), MachineIs: info.state}, from: s.source(p, m)}
	out := openStream(w, plainText)
	out.end(at.named().Verify(r.Context(), in, out))
	return nil
}

func (s *Server) localVerify(w http.ResponseWriter, r *http.Request) error {
	in, _, err := readVerify(r)
	if err != nil {
		return err
	}
	return s.verifyHere(in, w, r)
}

func (s *Server) verifyHere(in VerifyRequest, w http.ResponseWriter, r *http.Request) error {
	if s.Local == nil {
		return runsNothing()
	}
	out := openStream(w, plainText)
	out.end(s.Local.Verify(r.Context(), in, out))
	return nil
}
