package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/clusterd/clusterd/registry/pki"
)

// bodyMax is how many bytes the body of a call may have, strangerBodyMax how
// many that of one who isn't in the cluster.
const (
	bodyMax         = 64 << 20
	strangerBodyMax = 64 << 10
)

// route is one call: who may make it, and what answers. Who is not named may
// not. One of here and control is set.
type route struct {
	method, path string
	allow        []pki.Role
	// here answers on every machine.
	here func(s *Server, w http.ResponseWriter, r *http.Request) error
	// control answers on control machines; others forward the call for their
	// local callers, unless keep is set.
	control func(s *Server, c *Control, w http.ResponseWriter, r *http.Request) error
	keep    bool
}

func table() []route {
	admin := []pki.Role{pki.Admin}
	cluster := []pki.Role{pki.Admin, pki.Control, pki.Machine}
	machines := []pki.Role{pki.Admin, pki.Control}
	return []route{
		{method: http.MethodGet, path: "/version", allow: cluster, here: (*Server).version},
		{method: http.MethodGet, path: "/metrics", allow: machines, here: (*Server).serveMetrics},
		{method: http.MethodGet, path: "/local/journal/{unit}", allow: machines, here: (*Server).localJournal},
		{method: http.MethodGet, path: "/local/status/{unit}", allow: machines, here: (*Server).localStatus},
		{method: http.MethodPost, path: "/local/verify", allow: machines, here: (*Server).localVerify},

		{method: http.MethodGet, path: "/units", allow: admin, control: (*Server).listUnits},
		{method: http.MethodGet, path: "/units/{unit}", allow: admin, control: (*Server).getUnit},
		{method: http.MethodGet, path: "/units/{unit}/journal", allow: admin, control: (*Server).unitJournal},
		{method: http.MethodGet, path: "/units/{unit}/status", allow: admin, control: (*Server).unitStatus},
		{method: http.MethodPost, path: "/units/{unit}/move", allow: admin, control: (*Server).moveUnit},
		{method: http.MethodGet, path: "/files/{hash}", allow: admin, control: (*Server).getFile},
		{method: http.MethodGet, path: "/machines", allow: admin, control: (*Server).listMachines},
		{method: http.MethodDelete, path: "/machines/{machine}", allow: admin, control: (*Server).removeMachine},
		{method: http.MethodPut, path: "/machines/{machine}/settings", allow: admin, control: (*Server).setMachine},
		{method: http.MethodGet, path: "/machines/{machine}/units", allow: admin, control: (*Server).machineUnits},
		{method: http.MethodPost, path: "/machines/{machine}/confirm-dead", allow: admin, control: (*Server).confirmDead},
		{method: http.MethodPost, path: "/apply", allow: admin, control: (*Server).postApply},
		{method: http.MethodPost, path: "/simulate", allow: admin, control: (*Server).simulate},
		{method: http.MethodPost, path: "/verify", allow: admin, control: (*Server).verify},
		{method: http.MethodPost, path: "/explain", allow: admin, control: (*Server).explain},
		{method: http.MethodPost, path: "/watch", allow: admin, control: (*Server).watch},
		{method: http.MethodPost, path: "/tokens", allow: admin, control: (*Server).createToken},

		{method: http.MethodPost, path: "/join", allow: []pki.Role{stranger}, control: (*Server).join, keep: true},
		{method: http.MethodPost, path: "/renew", allow: cluster, control: (*Server).renew, keep: true},
		{method: http.MethodPost, path: "/control-credentials", allow: []pki.Role{pki.Machine, pki.Control}, control: (*Server).controlCredentials, keep: true},
	}
}

// routes builds the handler: every path answers in JSON, wrong paths and
// methods too.
func (s *Server) routes() http.Handler {
	byPath := map[string][]route{}
	for _, r := range table() {
		byPath[pathPrefix+r.path] = append(byPath[pathPrefix+r.path], r)
	}
	byPath["/metrics"] = byPath[pathPrefix+"/metrics"]
	mux := http.NewServeMux()
	for path, routes := range byPath {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { s.dispatch(routes, path, w, r) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, &Problem{Status: http.StatusNotFound, Exit: ExitFailed,
			Message: fmt.Sprintf("%s: the API has no such path", r.URL.Path)})
	})
	return mux
}

// dispatch finds the route of the call's method, checks the caller and answers.
func (s *Server) dispatch(routes []route, path string, w http.ResponseWriter, r *http.Request) {
	i := slices.IndexFunc(routes, func(route route) bool { return route.method == r.Method })
	if i < 0 {
		var allowed []string
		for _, route := range routes {
			allowed = append(allowed, route.method)
		}
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		s.fail(w, r, &Problem{Status: http.StatusMethodNotAllowed, Exit: ExitFailed,
			Message: fmt.Sprintf("%s %s: this path takes %s", r.Method, r.URL.Path, strings.Join(allowed, ", "))})
		return
	}
	s.metrics.requests.WithLabelValues(r.Method, path).Inc() // these only, lest strangers invent more
	route, who := routes[i], callerOf(r.Context())
	if err := authorise(route, who); err != nil {
		s.fail(w, r, err)
		return
	}
	limit := int64(bodyMax)
	if who.id.Role == stranger {
		limit = strangerBodyMax
	}
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	var err error
	switch c := s.control.Load(); {
	case route.here != nil:
		err = route.here(s, w, r)
	case c != nil:
		err = route.control(s, c, w, r)
	case s.Credentials != nil && s.Credentials.Identity().Role == pki.Control:
		err = noAnswer("this control machine has no registry yet; is it still starting? systemctl status clusterd")
	case who.local && !route.keep:
		err = s.forward(w, r)
	default:
		err = s.misdirected()
	}
	if err != nil {
		s.fail(w, r, err)
	}
}

// authorise is nil when the caller may make the call.
func authorise(r route, who caller) error {
	if who.err != nil {
		return refused("%s %s: refused: %v", r.method, r.path, who.err)
	}
	if slices.Contains(r.allow, who.id.Role) {
		return nil
	}
	if len(r.allow) == 1 && r.allow[0] == stranger {
		return refused("%s %s: refused to %s: it is for machines that aren't in the cluster yet", r.method, r.path, who)
	}
	words := make([]string, len(r.allow))
	for i, role := range r.allow {
		words[i] = string(role)
	}
	return refused("%s %s: refused to %s; it takes role %s", r.method, r.path, who, strings.Join(words, " or "))
}

// fail answers with an error, unless an answer has begun.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problem(err)
	if p.Status >= 500 {
		s.Log.Debug("API call failed", "method", r.Method, "path", r.URL.Path, "status", p.Status, "error", p.Message)
	}
	s.metrics.problems.WithLabelValues(strconv.Itoa(p.Status)).Inc()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(Error{Error: p.body()}) // the client is gone then
}

// body is the problem as it is sent.
func (p *Problem) body() ErrorBody {
	return ErrorBody{Status: p.Status, Exit: p.Exit, Message: p.Message}
}

// answer sends a value as JSON.
func answer(w http.ResponseWriter, value any) error {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // past this, only the client can be gone
	return nil
}

// read takes a call's body as In.
func read[In any](r *http.Request) (In, error) {
	var in In
	err := json.NewDecoder(r.Body).Decode(&in)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return in, &Problem{Status: http.StatusRequestEntityTooLarge, Exit: ExitUsage,
			Message: fmt.Sprintf("%s: the request is larger than %d KiB; send it in parts", r.URL.Path, large.Limit>>10)}
	case errors.Is(err, io.EOF):
		return in, badRequest("%s: the request has no body", r.URL.Path)
	case err != nil:
		return in, badRequest("%s: the request's body is not understood: %v", r.URL.Path, err)
	}
	return in, nil
}
