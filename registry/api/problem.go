package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/clusterd/clusterd/registry"
)

// The exit codes an API error can carry: clusterctl's own, see its help.
const (
	ExitFailed   = 1   // the operation failed
	ExitUsage    = 2   // bad argument or unit file; nothing changed
	ExitInactive = 3   // the unit is not active
	ExitUnknown  = 4   // no such unit or machine
	ExitRefused  = 5   // permission or policy
	ExitUnplaced = 6   // not placeable
	ExitNoAnswer = 7   // the registry did not answer; retrying is safe
	ExitTimeout  = 124 // waited for a state that did not come in time
	ExitCanceled = 130 // interrupted
)

// Problem is an error that knows what clusterctl exits with and, when it came
// or is to go over HTTP, the status. Exit is never 0.
type Problem struct {
	Status  int
	Exit    int
	Message string
	Err     error // the cause, for errors.Is; nil in a Problem read from an answer
}

func (p *Problem) Error() string { return p.Message }

func (p *Problem) Unwrap() error { return p.Err }

// ExitCode is the exit code for err: 0 for nil, a Problem's own, that of the
// registry's sentinels and of a context that ended, else ExitFailed.
func ExitCode(err error) int {
	var p *Problem
	switch {
	case err == nil:
		return 0
	case errors.As(err, &p) && p.Exit != 0:
		return p.Exit
	case errors.Is(err, context.Canceled):
		return ExitCanceled
	case errors.Is(err, context.DeadlineExceeded):
		return ExitTimeout
	case errors.Is(err, registry.ErrNotFound):
		return ExitUnknown
	case errors.Is(err, registry.ErrRefused):
		return ExitRefused
	case errors.Is(err, registry.ErrNoAnswer):
		return ExitNoAnswer
	}
	return ExitFailed
}

// problem is err as it is sent: a Problem as it is, the rest by its kind.
func problem(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		if p.Message == err.Error() {
			return p
		}
		return &Problem{Status: p.Status, Exit: p.Exit, Message: err.Error(), Err: err}
	}
	out := &Problem{Status: http.StatusInternalServerError, Exit: ExitCode(err), Message: err.Error(), Err: err}
	switch {
	case errors.Is(err, registry.ErrNoAnswer), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		out.Status, out.Exit = http.StatusServiceUnavailable, ExitNoAnswer
	case errors.Is(err, registry.ErrInvalid):
		out.Status = http.StatusBadRequest
	case errors.Is(err, registry.ErrFull):
		out.Status = http.StatusInsufficientStorage
	case errors.Is(err, registry.ErrNotFound):
		out.Status = http.StatusNotFound
	case errors.Is(err, registry.ErrRefused):
		out.Status = http.StatusForbidden
	case errors.Is(err, registry.ErrGuard):
		out.Status = http.StatusConflict
	}
	return out
}

func badRequest(format string, args ...any) error {
	return &Problem{Status: http.StatusBadRequest, Exit: ExitUsage, Message: fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) error {
	return &Problem{Status: http.StatusNotFound, Exit: ExitUnknown, Message: fmt.Sprintf(format, args...)}
}

func conflict(format string, args ...any) error {
	return &Problem{Status: http.StatusConflict, Exit: ExitFailed, Message: fmt.Sprintf(format, args...)}
}

func refused(format string, args ...any) error {
	return &Problem{Status: http.StatusForbidden, Exit: ExitRefused, Message: fmt.Sprintf(format, args...)}
}

func noAnswer(format string, args ...any) error {
	return &Problem{Status: http.StatusServiceUnavailable, Exit: ExitNoAnswer, Message: fmt.Sprintf(format, args...)}
}
