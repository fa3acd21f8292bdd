package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/pki"
	"github.com/clusterd/clusterd/unit"
)

// Client calls the API of a cluster. It is safe for concurrent use. Its errors
// are Problems or wrap the context's; ExitCode tells what to exit with.
type Client struct {
	endpoints []endpoint
	last      atomic.Int32 // the endpoint that answered last, where the next call begins
}

type endpoint struct {
	name string // as the user wrote it
	base string // scheme and host of its URLs
	http *http.Client
	// answered is set once anything was heard from there.
	answered *atomic.Bool
}

// knockWait is how long an endpoint may take to answer at all. A clusterd that
// hangs still takes connections, and what is really asked can take longer.
const knockWait = 4 * time.Second

// Dial makes a client for one or more endpoints, separated by commas and tried
// in turn: unix:///path of a socket or https://host:port. It connects to
// nothing yet. The TLS configuration, usually pki's, serves https endpoints
// and may be nil without them.
func Dial(endpoints string, config *tls.Config) (*Client, error) {
	c := &Client{}
	for name := range strings.SplitSeq(endpoints, ",") {
		name = strings.TrimSpace(name)
		if name == "" {
			continue
		}
		e, err := newEndpoint(name, config)
		if err != nil {
			return nil, err
		}
		c.endpoints = append(c.endpoints, e)
	}
	if len(c.endpoints) == 0 {
		return nil, badRequest("endpoint is empty; give unix:///run/clusterd/clusterd.sock or https://host:7421")
	}
	return c, nil
}

func newEndpoint(name string, config *tls.Config) (endpoint, error) {
	dialer := &net.Dialer{Timeout: 3 * time.Second}
	transport := &http.Transport{
		DialContext:           dialer.DialContext,
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		IdleConnTimeout:       time.Minute,
	}
	switch scheme, rest, _ := strings.Cut(name, "://"); {
	case scheme == "unix" && strings.HasPrefix(rest, "/"):
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", rest)
		}
		return endpoint{name: name, base: "http://clusterd", http: &http.Client{Transport: transport}, answered: new(atomic.Bool)}, nil
	case scheme == "https":
		if _, _, err := net.SplitHostPort(rest); err != nil {
			return endpoint{}, badRequest("endpoint %s: no host and port; write it as https://host:7421", name)
		}
		if config == nil {
			return endpoint{}, refused("endpoint %s: no certificate to show there; give one with its key and the cluster's CA (clusterctl: --cert, --key and --ca), or use the unix socket of a machine", name)
		}
		transport.TLSClientConfig = config.Clone()
		return endpoint{name: name, base: "https://" + rest, http: &http.Client{Transport: transport}, answered: new(atomic.Bool)}, nil
	case scheme == "http":
		return endpoint{}, badRequest("endpoint %s: clusterd never listens in plain text; write it as https://host:7421", name)
	}
	return endpoint{}, badRequest("endpoint %s: want unix:///path/of/socket or https://host:port", name)
}

// Close ends idle connections.
func (c *Client) Close() {
	for _, e := range c.endpoints {
		e.http.CloseIdleConnections()
	}
}

// Version says what answers.
func (c *Client) Version(ctx context.Context) (Version, error) {
	return call[Version](ctx, c, http.MethodGet, "/version", nil)
}

// Units lists the units whose names match one of the globs, or all, sorted by
// name.
func (c *Client) Units(ctx context.Context, globs ...string) (Units, error) {
	return call[Units](ctx, c, http.MethodGet, "/units"+query("name", globs...), nil)
}

// Unit is one unit; one nobody knows is an error of ExitUnknown.
func (c *Client) Unit(ctx context.Context, name unit.Name) (Unit, error) {
	return call[Unit](ctx, c, http.MethodGet, unitPath(name), nil)
}

// File is a unit file, byte for byte as it was submitted.
func (c *Client) File(ctx context.Context, hash unit.Hash) ([]byte, error) {
	res, err := c.do(ctx, http.MethodGet, "/files/"+url.PathEscape(string(hash)), nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}

// Machines lists the machines, sorted by id.
func (c *Client) Machines(ctx context.Context) (Machines, error) {
	return call[Machines](ctx, c, http.MethodGet, "/machines", nil)
}

// Apply changes units. The changes of one call are validated together and done
// in as few transactions as fit.
func (c *Client) Apply(ctx context.Context, a Apply) (Applied, error) {
	return call[Applied](ctx, c, http.MethodPost, "/apply", a)
}

// Watch yields the units as they are, one each and in the order of names, then
// each again whenever it changes, with Known false and no States once it is
// nowhere. It ends with the context's error, or when the connection is lost,
// never by itself.
func (c *Client) Watch(ctx context.Context, names ...unit.Name) iter.Seq2[Unit, error] {
	return func(yield func(Unit, error) bool) {
		res, err := c.do(ctx, http.MethodPost, "/watch", WatchRequest{Names: names})
		if err != nil {
			yield(Unit{}, err)
			return
		}
		defer res.Body.Close()
		lines := json.NewDecoder(res.Body)
		for {
			var u Unit
			if err := lines.Decode(&u); err != nil {
				if ctx.Err() != nil {
					err = ctx.Err()
				} else if end := trailerError(res); end != nil {
					err = end
				} else {
					err = noAnswer("watch units: connection lost: %v; try again", err)
				}
				yield(Unit{}, err)
				return
			}
			if !yield(u, nil) {
				return
			}
		}
	}
}

// WatchRequest names the units a watch is about.
type WatchRequest struct {
	Names []unit.Name `json:"names"`
}

// Journal copies the unit's journal to w, from the machine it is on; machine
// chooses among several and may otherwise be empty.
func (c *Client) Journal(ctx context.Context, name unit.Name, machine registry.MachineID, o JournalOptions, w io.Writer) error {
	res, err := c.do(ctx, http.MethodGet, unitPath(name)+"/journal?"+journalQuery(o, machine).Encode(), nil)
	if err != nil {
		return err
	}
	_, err = copyStream(ctx, res, w)
	return err
}

// Status copies what systemd says of the unit to w, as systemctl status does,
// and returns that command's exit code. A unit on several machines is told of
// one after the other, unless machine names one.
func (c *Client) Status(ctx context.Context, name unit.Name, machine registry.MachineID, w io.Writer) (int, error) {
	path := unitPath(name) + "/status"
	if machine != "" {
		path += query("machine", string(machine))
	}
	res, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return 0, err
	}
	return copyStream(ctx, res, w)
}

// LocalJournal is Journal of the machine the client is connected to.
func (c *Client) LocalJournal(ctx context.Context, name unit.Name, o JournalOptions, w io.Writer) error {
	res, err := c.do(ctx, http.MethodGet, "/local/journal/"+url.PathEscape(string(name))+"?"+journalQuery(o, "").Encode(), nil)
	if err != nil {
		return err
	}
	_, err = copyStream(ctx, res, w)
	return err
}

// LocalStatus is Status of the machine the client is connected to.
func (c *Client) LocalStatus(ctx context.Context, name unit.Name, w io.Writer) (int, error) {
	res, err := c.do(ctx, http.MethodGet, "/local/status/"+url.PathEscape(string(name)), nil)
	if err != nil {
		return 0, err
	}
	return copyStream(ctx, res, w)
}

// Verify copies what systemd says of a unit file to w, as Local has it; a file
// that the cluster would refuse anyway is an error of ExitUsage.
func (c *Client) Verify(ctx context.Context, r VerifyRequest, w io.Writer) (int, error) {
	return c.verify(ctx, "/verify", r, w)
}

// LocalVerify is Local's of the machine the client is connected to.
func (c *Client) LocalVerify(ctx context.Context, r VerifyRequest, w io.Writer) (int, error) {
	return c.verify(ctx, "/local/verify", r, w)
}

func (c *Client) verify(ctx context.Context, path string, r VerifyRequest, w io.Writer) (int, error) {
	res, err := c.do(ctx, http.MethodPost, path, r)
	if err != nil {
		return 0, err
	}
	return copyStream(ctx, res, w)
}

// RemoveMachine takes a machine out of the cluster. One that is alive is
// refused unless force is set.
func (c *Client) RemoveMachine(ctx context.Context, m registry.MachineID, force bool) error {
	path := machinePath(m)
	if force {
		path += query("force", "true")
	}
	_, err := call[struct{}](ctx, c, http.MethodDelete, path, nil)
	return err
}

// SetMachine changes a machine's settings.
func (c *Client) SetMachine(ctx context.Context, m registry.MachineID, change SettingsChange) error {
	_, err := call[struct{}](ctx, c, http.MethodPut, machinePath(m)+"/settings", change)
	return err
}

// ConfirmDead says that a machine which has lost its lease is dead, so that its
// units move at once, also while too many others are missing.
func (c *Client) ConfirmDead(ctx context.Context, m registry.MachineID) error {
	_, err := call[struct{}](ctx, c, http.MethodPost, machinePath(m)+"/confirm-dead", nil)
	return err
}

// MachineUnits lists the units that are on a machine, or are to be, by name.
func (c *Client) MachineUnits(ctx context.Context, m registry.MachineID) (Units, error) {
	return call[Units](ctx, c, http.MethodGet, machinePath(m)+"/units", nil)
}

// Simulate says what would come of a scenario. It changes nothing.
func (c *Client) Simulate(ctx context.Context, s Scenario) (Prospect, error) {
	return call[Prospect](ctx, c, http.MethodPost, "/simulate", s)
}

// Move asks that a unit move to a machine. The answer is the unit as it was
// before, with the Revision of the wish: see Unit.Wish for what becomes of it.
func (c *Client) Move(ctx context.Context, name unit.Name, m registry.MachineID) (Unit, error) {
	return call[Unit](ctx, c, http.MethodPost, unitPath(name)+"/move", MoveRequest{Machine: string(m)})
}

// Explain says why a unit is where it is, or where it would be.
func (c *Client) Explain(ctx context.Context, r ExplainRequest) (Explanation, error) {
	return call[Explanation](ctx, c, http.MethodPost, "/explain", r)
}

// CreateToken makes a join token.
func (c *Client) CreateToken(ctx context.Context, r TokenRequest) (TokenReply, error) {
	return call[TokenReply](ctx, c, http.MethodPost, "/tokens", r)
}

// Join spends a join token.
func (c *Client) Join(ctx context.Context, r JoinRequest) (Joined, error) {
	return call[Joined](ctx, c, http.MethodPost, "/join", r)
}

// Renew gets a new certificate for the client's own identity.
func (c *Client) Renew(ctx context.Context, r RenewRequest) (Renewed, error) {
	return call[Renewed](ctx, c, http.MethodPost, "/renew", r)
}

// ControlCredentials gets what a machine that becomes a control machine needs.
func (c *Client) ControlCredentials(ctx context.Context, r ControlRequest) (ControlCredentials, error) {
	return call[ControlCredentials](ctx, c, http.MethodPost, "/control-credentials", r)
}

func unitPath(u unit.Name) string { return "/units/" + url.PathEscape(string(u)) }

func machinePath(m registry.MachineID) string { return "/machines/" + url.PathEscape(string(m)) }

func query(key string, values ...string) string {
	if len(values) == 0 {
		return ""
	}
	return "?" + url.Values{key: values}.Encode()
}

func journalQuery(o JournalOptions, m registry.MachineID) url.Values {
	q := url.Values{"lines": {strconv.Itoa(o.Lines)}}
	for key, value := range map[string]string{"output": o.Output, "since": o.Since, "machine": string(m)} {
		if value != "" {
			q.Set(key, value)
		}
	}
	if o.Follow {
		q.Set("follow", "true")
	}
	return q
}

// call sends in as JSON, unless it is nil, and reads the answer as an Out.
func call[Out any](ctx context.Context, c *Client, method, path string, in any) (Out, error) {
	var out Out
	res, err := c.do(ctx, method, path, in)
	if err != nil {
		return out, err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNoContent {
		return out, nil
	}
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		return out, noAnswer("read answer to %s %s: %v; try again", method, path, err)
	}
	return out, nil
}

// do sends one request to the endpoints in turn, until one answers. A request
// that changes something goes on to the next only when it can't have arrived.
// The answer is 2xx; its body is the caller's to close.
func (c *Client) do(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return nil, badRequest("write %s: %v", path, err)
		}
	}
	start, failed := int(c.last.Load()), []error(nil)
	for i := range c.endpoints {
		n := (start + i) % len(c.endpoints)
		e := c.endpoints[n]
		res, err := e.send(ctx, method, path, body)
		if err == nil {
			c.last.Store(int32(n))
			return res, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("ask %s: %w", e.name, ctx.Err())
		}
		failed = append(failed, err)
		if !tryNext(method, err) {
			break
		}
	}
	return nil, joinFailures(failed)
}

// joinFailures tells of every endpoint that was tried, and exits as the last.
func joinFailures(failed []error) error {
	last := problem(failed[len(failed)-1])
	if len(failed) == 1 {
		return last
	}
	lines := make([]string, len(failed))
	for i, err := range failed {
		lines[i] = err.Error()
	}
	return &Problem{Status: last.Status, Exit: last.Exit, Message: strings.Join(lines, "\n"), Err: errors.Join(failed...)}
}

// errUnreached marks a request that can't have arrived.
var errUnreached = errors.New("not reached")

// tryNext says whether another endpoint may be asked after err.
func tryNext(method string, err error) bool {
	var p *Problem
	if !errors.As(err, &p) {
		return false
	}
	if errors.Is(err, errUnreached) || p.Status == http.StatusMisdirectedRequest {
		return true
	}
	return method == http.MethodGet && p.Exit == ExitNoAnswer
}

// knock finds out whether anybody answers, if that isn't known yet, by what
// every clusterd can tell by itself. Of the answer nothing matters.
func (e endpoint) knock(ctx context.Context) error {
	if e.answered.Load() {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, knockWait)
	defer cancel()
	req, err := http.NewRequestWithContext(limited, http.MethodGet, e.base+pathPrefix+"/version", nil)
	if err != nil {
		return badRequest("ask %s: %v", e.name, err)
	}
	res, err := e.http.Do(req)
	switch {
	case err == nil:
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, bodyMax)) // so that the connection serves again
		res.Body.Close()
		e.answered.Store(true)
		return nil
	case limited.Err() != nil && ctx.Err() == nil:
		return &Problem{Status: http.StatusServiceUnavailable, Exit: ExitNoAnswer, Err: errors.Join(errUnreached, err),
			Message: fmt.Sprintf("no answer from %s in %v, though it takes connections; does its clusterd hang? systemctl status clusterd", e.name, knockWait)}
	}
	return e.explain(err)
}

func (e endpoint) send(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	if err := e.knock(ctx); err != nil {
		return nil, err
	}
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, e.base+pathPrefix+path, reader)
	if err != nil {
		return nil, badRequest("ask %s: %v", e.name, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := e.http.Do(req)
	if err != nil {
		e.answered.Store(false)
		return nil, e.explain(err)
	}
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	return nil, readProblem(e.name, res)
}

// explain says what a failed connection means to the user.
func (e endpoint) explain(err error) error {
	var out *Problem
	var cause *net.OpError
	var alert tls.AlertError
	var unverified *tls.CertificateVerificationError
	switch {
	case errors.Is(err, syscall.EACCES):
		out = &Problem{Status: http.StatusForbidden, Exit: ExitRefused,
			Message: fmt.Sprintf("connect to %s: permission denied; use sudo, or join the group that owns the socket", e.name)}
	case errors.As(err, &unverified):
		out = &Problem{Status: http.StatusForbidden, Exit: ExitRefused,
			Message: fmt.Sprintf("connect to %s: %v", e.name, unverified.Err)}
		if errors.Is(err, pki.ErrForeign) {
			out.Message += "; use the CA of the cluster that is meant"
		}
	case errors.As(err, &alert), isRemoteAlert(err):
		out = &Problem{Status: http.StatusForbidden, Exit: ExitRefused,
			Message: fmt.Sprintf("connect to %s: the certificate shown was refused (%v); use one of this cluster", e.name, unwrapURL(err))}
	default:
		out = &Problem{Status: http.StatusServiceUnavailable, Exit: ExitNoAnswer,
			Message: fmt.Sprintf("no answer from %s: %v; is clusterd running%s? systemctl status clusterd", e.name, unwrapURL(err), e.there())}
	}
	out.Err = err
	if errors.As(err, &cause) && cause.Op == "dial" {
		out.Err = errors.Join(errUnreached, err)
	}
	return out
}

// there asks about the network, too, when the endpoint is another machine's.
func (e endpoint) there() string {
	if strings.HasPrefix(e.name, "unix:") {
		return ""
	}
	return " there, and its port open to this machine"
}

// isRemoteAlert finds the alert with which a TLS peer ends a handshake; the
// standard library wraps it in an OpError of this name.
func isRemoteAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// unwrapURL drops the method and address that net/http puts before an error.
func unwrapURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Err
	}
	return err
}

func readProblem(name string, res *http.Response) error {
	var e Error
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err == nil {
		err = json.Unmarshal(body, &e)
	}
	if err != nil || e.Error.Message == "" {
		return &Problem{Status: res.StatusCode, Exit: ExitFailed,
			Message: fmt.Sprintf("%s answered %s, which is not clusterd's way; is it clusterd's endpoint?", name, res.Status)}
	}
	exit := e.Error.Exit
	if exit == 0 {
		exit = ExitFailed
	}
	return &Problem{Status: res.StatusCode, Exit: exit, Message: e.Error.Message}
}

// Trailers of streamed answers: the exit code of what ran, and what went wrong
// after the stream had begun.
const (
	trailerExit    = "Clusterd-Exit"
	trailerProblem = "Clusterd-Error"
)

// copyStream copies a streamed answer and returns the exit code at its end.
func copyStream(ctx context.Context, res *http.Response, w io.Writer) (int, error) {
	defer res.Body.Close()
	if _, err := io.Copy(w, res.Body); err != nil {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		return 0, noAnswer("read answer: %v; try again", err)
	}
	if err := trailerError(res); err != nil {
		return 0, err
	}
	exit, _ := strconv.Atoi(res.Trailer.Get(trailerExit))
	return exit, nil
}

// trailerError is the error a stream ended with, if any.
func trailerError(res *http.Response) error {
	text := res.Trailer.Get(trailerProblem)
	if text == "" {
		return nil
	}
	var body ErrorBody
	if err := json.Unmarshal([]byte(text), &body); err != nil || body.Exit == 0 {
		return &Problem{Status: http.StatusInternalServerError, Exit: ExitFailed, Message: text}
	}
	return &Problem{Status: body.Status, Exit: body.Exit, Message: body.Message}
}

// pathPrefix stands before every path of the API.
const pathPrefix = "/clusterd/v1"
