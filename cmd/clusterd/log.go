package main

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"

	"github.com/coreos/go-systemd/v22/journal"
)

// newLog writes to the journal with every attribute as a field of its own when
// stderr leads there, else as text to stderr.
func newLog(stderr io.Writer, level slog.Leveler) *slog.Logger {
	if direct, err := journal.StderrIsJournalStream(); err != nil || !direct {
		return slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	}
	var text strings.Builder
	return slog.New(&journalHandler{
		level: level, shared: &journalText{b: &text},
		text: slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: withoutHeader}),
	})
}

// journalHandler sends records to journald in its native form: the message with
// its attributes as people read it, and the attributes once more as fields.
type journalHandler struct {
	level  slog.Leveler
	shared *journalText
	text   slog.Handler // renders attributes into shared
	fields []slog.Attr
}

type journalText struct {
	sync.Mutex
	b *strings.Builder
}

func (h *journalHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	clone := *h
	clone.text = h.text.WithAttrs(attrs)
	clone.fields = append(h.fields[:len(h.fields):len(h.fields)], attrs...)
	return &clone
}

func (h *journalHandler) WithGroup(name string) slog.Handler {
	clone := *h
	clone.text = h.text.WithGroup(name)
	return &clone
}

func (h *journalHandler) Handle(ctx context.Context, r slog.Record) error {
	fields := map[string]string{"SYSLOG_IDENTIFIER": "clusterd"}
	add := func(a slog.Attr) bool {
		fields[fieldName(a.Key)] = a.Value.String()
		return true
	}
	for _, a := range h.fields {
		add(a)
	}
	r.Attrs(add)
	h.shared.Lock()
	defer h.shared.Unlock()
	h.shared.b.Reset()
	if err := h.text.Handle(ctx, r); err != nil {
		return err
	}
	message := strings.TrimSpace(r.Message + " " + strings.TrimSpace(h.shared.b.String()))
	return journal.Send(message, priority(r.Level), fields)
}

// withoutHeader leaves out what the journal has fields of its own for.
func withoutHeader(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
		return slog.Attr{}
	}
	return a
}

func priority(l slog.Level) journal.Priority {
	switch {
	case l >= slog.LevelError:
		return journal.PriErr
	case l >= slog.LevelWarn:
		return journal.PriWarning
	case l >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}

// fieldName makes a journal field's name: upper-case letters, digits and
// underscores, with a prefix so that none is taken for one of journald's own.
func fieldName(key string) string {
	return "CLUSTERD_" + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
}
