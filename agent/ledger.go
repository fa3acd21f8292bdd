package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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

// ledger keeps entries, one file each, until the machine is rebooted.
type ledger struct {
	dir string

	mu      sync.Mutex
	entries map[unit.Name]entry
}

// openLedger reads what is there. A file that can't be read is a unit of ours
// of which nothing else is known; it is not lost.
func openLedger(dir string) (*ledger, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("keep the units' records: %w", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the units' records: %w", err)
	}
	l := &ledger{dir: dir, entries: map[unit.Name]entry{}}
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), ".json")
		if _, err := unit.ParseName(name); !ok || err != nil {
			continue // a temporary file of a write that was cut short
		}
		e := entry{Unit: unit.Name(name)}
		if b, err := os.ReadFile(filepath.Join(dir, f.Name())); err == nil {
			if json.Unmarshal(b, &e) != nil || e.Unit != unit.Name(name) {
				e = entry{Unit: unit.Name(name)}
			}
		}
		l.entries[e.Unit] = e
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
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("keep the record of %s: %w", e.Unit, err)
	}
	if err := replaceFile(l.path(e.Unit), append(b, '\n')); err != nil {
		return fmt.Errorf("keep the record of %s: %w", e.Unit, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries[e.Unit] = e
	return nil
}

func (l *ledger) remove(u unit.Name) error {
	if err := os.Remove(l.path(u)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the record of %s: %w", u, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.entries, u)
	return nil
}

func (l *ledger) path(u unit.Name) string { return filepath.Join(l.dir, string(u)+".json") }

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
