package api

import (
	"net/http"
	"path"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

func (s *Server) version(w http.ResponseWriter, _ *http.Request) error {
	return answer(w, Version{Version: s.Version, Cluster: s.Cluster, Machine: s.Machine, Control: s.control.Load() != nil})
}

func (s *Server) listUnits(c *Control, w http.ResponseWriter, r *http.Request) error {
	globs := r.URL.Query()["name"]
	for _, g := range globs {
		if _, err := path.Match(g, ""); err != nil {
			return badRequest("list units: %s is no pattern; close its bracket, as in web@[1-3].service", g)
		}
	}
	view, stale, err := c.recentView(r.Context())
	if err != nil {
		return err
	}
	return answer(w, Units{Units: c.picture(view, s.Now()).units(globs), Stale: stale, Notice: c.notice()})
}

func (s *Server) getUnit(c *Control, w http.ResponseWriter, r *http.Request) error {
	view, stale, err := c.recentView(r.Context())
	if err != nil {
		return err
	}
	name := unit.Name(r.PathValue("unit"))
	u, ok := c.picture(view, s.Now()).unit(name)
	if !ok {
		return unknownUnit(name)
	}
	u.Stale = stale
	return answer(w, u)
}

func (s *Server) getFile(c *Control, w http.ResponseWriter, r *http.Request) error {
	hash := unit.Hash(r.PathValue("hash"))
	// A file never changes, so an old copy's is as good as a new one's.
	rec, ok := c.Copy.Get(registry.FileKey(hash))
	if !ok {
		view, err := c.freshView(r.Context())
		if err != nil {
			return err
		}
		if rec, ok = view.Get(registry.FileKey(hash)); !ok {
			return notFound("file %s: not in the registry", hash.Short())
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(rec.Value) // an error means that the client is gone
	return nil
}

func (s *Server) listMachines(c *Control, w http.ResponseWriter, r *http.Request) error {
	view, stale, err := c.recentView(r.Context())
	if err != nil {
		return err
	}
	list := c.picture(view, s.Now()).allMachines()
	if list == nil {
		list = []Machine{}
	}
	return answer(w, Machines{Machines: list, Stale: stale, Notice: c.notice()})
}

func (s *Server) postApply(c *Control, w http.ResponseWriter, r *http.Request) error {
	a, err := read[Apply](r)
	if err != nil {
		return err
	}
	applied, err := s.apply(r.Context(), c, a, callerOf(r.Context()).id.Name)
	if err != nil {
		return err
	}
	return answer(w, applied)
}
