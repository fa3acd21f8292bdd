package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/clusterd/clusterd/unit"
)

// entry is what the agent durably knows of a unit it has put on this machine.
type entry struct {
	Unit      unit.Name `json:"unit"`
	File      unit.Hash `json:"file"`      // written, or about to be
	Done      uint64    `json:"done"`      // last generation carried out
	Restarted uint64    `json:"restarted"` // last restart carried out
	Begun     uint64    `json:"begun"`     // last generation whose start was taken on
	// Reason is why the last generation failed, Failed when that was.
	Reason string    `json:"reason,omitempty"`
	Failed time.Time `json:"failed,omitzero"`
	Along  []along   `json:"along,omitempty"` // stopped along with it, and not started again yet
	Again  string    `json:"again,omitempty"` // why it is to be started again; set until that is begun
}

// along is a unit that was stopped along with another one.
type along struct {
	Unit  unit.Name `json:"unit"`
	Begun uint64    `json:"begun"` // its own entry's, when it was stopped
	At    time.Time `json:"at"`    // just before it was stopped
}

// ledger keeps entries until the machine is rebooted, in one file that is only
// added to: a line for each change, the last one of a unit counts. Now and then
// it is written anew. A start costs three lines; a file for each would make the
// agent's share of it several times as long.
type ledger struct {
	dir string

	mu      sync.Mutex
	entries map[unit.Name]entry
	file    *os.File
	size    int64 // of what was written whole
	spare   int64 // size at which it is written anew
}

// line is one change of an entry.
type line struct {
	entry
	Gone bool `json:"gone,omitempty"` // there is no longer one
}

const ledgerSlack = 64 << 10 // bytes of lines out of date that are always kept

// openLedger reads what is there. Of a line that was cut short nothing was done
// yet: what it announces comes after it.
func openLedger(dir string) (*ledger, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("keep the units' records: %w", err)
	}
	l := &ledger{dir: dir, entries: map[unit.Name]entry{}}
	text, err := os.ReadFile(l.path())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the units' records: %w", err)
	}
	for text := range bytes.Lines(text) {
		var now line
		if err := json.Unmarshal(text, &now); err != nil || now.Unit == "" {
			continue
		}
		if now.Gone {
			delete(l.entries, now.Unit)
		} else {
			l.entries[now.Unit] = now.entry
		}
	}
	if err := l.renew(); err != nil {
		return nil, fmt.Errorf("keep the units' records: %w", err)
	}
	return l, nil
}

func (l *ledger) get(u unit.Name) (entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.entries[u]
	return e, ok
}

func (l *ledger) put(e entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.add(line{entry: e}); err != nil {
		return fmt.Errorf("keep the record of %s: %w", e.Unit, err)
	}
	l.entries[e.Unit] = e
	return nil
}

func (l *ledger) remove(u unit.Name) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.add(line{entry: entry{Unit: u}, Gone: true}); err != nil {
		return fmt.Errorf("remove the record of %s: %w", u, err)
	}
	delete(l.entries, u)
	return nil
}

// add appends a line, whole or not at all.
func (l *ledger) add(now line) error {
	if l.size > l.spare {
		if err := l.renew(); err != nil {
			return err
		}
	}
	text, err := json.Marshal(now)
	if err != nil {
		return err
	}
	n, err := l.file.WriteAt(append(text, '\n'), l.size)
	if err != nil {
		_ = l.file.Truncate(l.size) // what follows is written over it anyway
		return err
	}
	l.size += int64(n)
	return nil
}

// renew writes a file with a line for each entry, and goes on in that.
func (l *ledger) renew() error {
	var text bytes.Buffer
	to := json.NewEncoder(&text)
	for _, u := range slices.Sorted(maps.Keys(l.entries)) {
		if err := to.Encode(line{entry: l.entries[u]}); err != nil {
			return err
		}
	}
	if err := replaceFile(l.path(), text.Bytes()); err != nil {
		return err
	}
	file, err := os.OpenFile(l.path(), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if l.file != nil {
		l.file.Close()
	}
	l.file, l.size = file, int64(text.Len())
	l.spare = 4*l.size + ledgerSlack
	return nil
}

func (l *ledger) path() string { return filepath.Join(l.dir, "ledger") }

// replaceFile writes a file so that a reader, and whoever comes after a crash,
// sees either the old or the new one. The directories it is used for live in
// memory, so nothing is synced.
func replaceFile(path string, content []byte) error {
	temporary := path + ".new"
	if err := os.WriteFile(temporary, content, 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
