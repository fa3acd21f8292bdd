package engine

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/mem"
	"github.com/clusterd/clusterd/unit"
)

// world is a registry built from sentences, one a line:
//
//	machine m1 [region=eu] [dead|unregistered] [cordoned] [drained] [runs:252.1] [arch:arm64] [GiB:4] [tasks:100]
//	drain m1 | restore m1
//	away m1 | shutdown m1 | confirmed m1
//	unit web.service launched [g3] [needs:254] [wish:m2] [file=TEXT] [Conflicts=db.service] [Global=yes] ...
//	assigned m1 web.service launched [g3] [old]
//	observed m1 web.service active [g3] [unclaimed] [gone] [past] [reason=...]
type world struct {
	t     testing.TB
	store *mem.Store
	known map[string]registry.Revision // what feed has told
	files map[string]unit.Hash
	log   *slog.Logger
}

// start is the moment the tests begin at.
var start = time.Unix(1700000000, 0)

func newWorld(t testing.TB, text string) *world {
	t.Helper()
	w := &world{t: t, store: mem.New(mem.Options{}), known: map[string]registry.Revision{}, files: map[string]unit.Hash{},
		log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	w.put(registry.ClusterKey, &registry.Cluster{Id: "c1", Epoch: 1})
	w.say(text)
	return w
}

func (w *world) commit(ops ...registry.Op) {
	w.t.Helper()
	if _, err := w.store.Commit(context.Background(), nil, ops); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) put(key string, m registry.Message) {
	w.t.Helper()
	w.commit(registry.Op{Key: key, Value: registry.Encode(m)})
}

func (w *world) remove(key string) {
	w.t.Helper()
	w.commit(registry.Op{Delete: registry.Single(key)})
}

func (w *world) records(r registry.Range) []registry.Record {
	w.t.Helper()
	s, err := w.store.Range(context.Background(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Records
}

// say adds to the world what the sentences say.
func (w *world) say(text string) {
	w.t.Helper()
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		switch words[0] {
		case "machine":
			w.machine(words[1], words[2:])
		case "away", "shutdown":
			w.put(registry.AwayKey(registry.MachineID(words[1])),
				&registry.Away{SinceUnixMs: start.UnixMilli(), Shutdown: words[0] == "shutdown", Incarnation: "boot1"})
			w.remove(registry.AliveKey(registry.MachineID(words[1])))
		case "confirmed":
			w.put(registry.AwayKey(registry.MachineID(words[1])),
				&registry.Away{SinceUnixMs: start.UnixMilli(), Shutdown: true, ConfirmedBy: "root"})
		case "drain", "restore":
			w.put(registry.SettingsKey(registry.MachineID(words[1])), &registry.Settings{Drain: words[0] == "drain"})
		case "dies":
			w.remove(registry.AliveKey(registry.MachineID(words[1])))
		case "returns":
			w.put(registry.AliveKey(registry.MachineID(words[1])), &registry.Alive{Incarnation: words[2]})
		case "removed":
			w.remove(registry.MachineKey(registry.MachineID(words[1])))
		case "unit":
			w.unit(words[1], words[2], words[3:])
		case "assigned":
			w.assigned(registry.MachineID(words[1]), unit.Name(words[2]), words[3], words[4:])
		case "observed":
			w.observed(registry.MachineID(words[1]), unit.Name(words[2]), words[3], words[4:])
		case "garbage":
			w.commit(registry.Op{Key: words[1], Value: []byte("\xff\xfenot a record")})
		default:
			w.t.Fatalf("no such sentence: %s", line)
		}
	}
}

func (w *world) machine(name string, words []string) {
	id := registry.MachineID(name)
	rec := &registry.Machine{Hostname: name, Metadata: map[string]string{}}
	settings := &registry.Settings{}
	alive, registered := true, true
	for _, word := range words {
		switch key, value, pair := strings.Cut(word, "="); {
		case pair:
			rec.Metadata[key] = value
		case word == "dead":
			alive = false
		case word == "unregistered":
			registered = false
		case word == "cordoned":
			settings.Cordon = true
		case word == "drained":
			settings.Drain = true
		case strings.HasPrefix(word, "GiB:"):
			gib, _ := strconv.Atoi(strings.TrimPrefix(word, "GiB:"))
			rec.MemoryBytes = uint64(gib) << 30
		case strings.HasPrefix(word, "tasks:"):
			rec.TasksMax, _ = strconv.ParseUint(strings.TrimPrefix(word, "tasks:"), 10, 64)
		case strings.HasPrefix(word, "arch:"):
			rec.Facts = map[string]string{registry.FactArch: strings.TrimPrefix(word, "arch:")}
		case strings.HasPrefix(word, "runs:"):
			rec.Facts = map[string]string{registry.FactSystemd: strings.TrimPrefix(word, "runs:")}
		default:
			w.t.Fatalf("no such machine: %s", word)
		}
	}
	if registered {
		w.put(registry.MachineKey(id), rec)
	}
	if settings.Cordon || settings.Drain {
		w.put(registry.SettingsKey(id), settings)
	}
	if alive {
		w.put(registry.AliveKey(id), &registry.Alive{Incarnation: "boot1"})
	}
}

// file puts a unit file into the world and returns its hash.
func (w *world) file(options []string) unit.Hash {
	text := "[Service]\nExecStart=/bin/true\n"
	if len(options) > 0 {
		text += "[X-Cluster]\n" + strings.Join(options, "\n") + "\n"
	}
	h := unit.HashOf([]byte(text))
	if w.files[text] == "" {
		w.commit(registry.Op{Key: registry.FileKey(h), Value: []byte(text)})
		w.files[text] = h
	}
	return h
}

func target(t testing.TB, word string) registry.Target {
	n, ok := registry.Target_value[strings.ToUpper(word)]
	if !ok {
		t.Fatalf("no such target: %s", word)
	}
	return registry.Target(n)
}

func generation(words []string) uint64 {
	for _, word := range words {
		if n, err := strconv.ParseUint(strings.TrimPrefix(word, "g"), 10, 64); err == nil && word[0] == 'g' {
			return n
		}
	}
	return 1
}

func (w *world) unit(name, to string, words []string) {
	var options []string
	h := unit.Hash("")
	needs := 0
	var wish *registry.Wish
	for _, word := range words {
		switch {
		case strings.HasPrefix(word, "needs:"):
			needs, _ = strconv.Atoi(strings.TrimPrefix(word, "needs:"))
		case strings.HasPrefix(word, "wish:"):
			wish = &registry.Wish{Machine: strings.TrimPrefix(word, "wish:"), Who: "root"}
		case strings.HasPrefix(word, "file="):
			h = unit.Hash(strings.TrimPrefix(word, "file="))
		case strings.Contains(word, "="):
			options = append(options, word)
		}
	}
	if h == "" {
		h = w.file(options)
	}
	w.put(registry.UnitKey(unit.Name(name)), &registry.Unit{File: string(h), Target: target(w.t, to), Generation: generation(words), NeedsSystemd: uint32(needs), Wish: wish})
}

// fileOf is the hash that a unit's record names.
func (w *world) fileOf(name unit.Name) string {
	for _, rec := range w.records(registry.Single(registry.UnitKey(name))) {
		if u, err := registry.Decode[registry.Unit](rec); err == nil {
			return u.File
		}
	}
	return string(w.file(nil))
}

func (w *world) assigned(m registry.MachineID, name unit.Name, to string, words []string) {
	file := w.fileOf(name)
	if slices.Contains(words, "old") {
		file = "0123"
	}
	w.put(registry.AssignmentKey(m, name), &registry.Assignment{
		File: file, Target: target(w.t, to), Generation: generation(words), Global: slices.Contains(words, "global"),
	})
}

func (w *world) observed(m registry.MachineID, name unit.Name, active string, words []string) {
	o := &registry.Observed{Load: "loaded", Active: active, File: w.fileOf(name), Generation: generation(words),
		Incarnation: "boot1", Result: "success"}
	for _, word := range words {
		switch {
		case word == "unclaimed":
			o.Unclaimed = true
		case word == "gone":
			o.Gone = true
		case word == "past":
			o.Incarnation = "boot0"
		case strings.HasPrefix(word, "reason="):
			o.Reason = strings.TrimPrefix(word, "reason=")
		}
	}
	w.put(registry.ObservedKey(m, name), o)
}

// feed tells an index what changed since it was last fed.
func (w *world) feed(x *index, now time.Time) {
	w.t.Helper()
	s, err := w.store.Range(context.Background(), registry.Everything())
	if err != nil {
		w.t.Fatal(err)
	}
	there := map[string]bool{}
	for _, rec := range s.Records {
		there[rec.Key] = true
		if w.known[rec.Key] != rec.Modified {
			w.known[rec.Key] = rec.Modified
			x.apply(registry.Event{Record: rec}, now)
		}
	}
	for key := range w.known {
		if !there[key] {
			delete(w.known, key)
			x.apply(registry.Event{Record: registry.Record{Key: key, Modified: s.Revision}, Deleted: true}, now)
		}
	}
}

func (w *world) index(gossip Gossip) *index {
	if gossip == nil {
		gossip = silent{}
	}
	return newIndex(w.log, Timing{}.withDefaults(), gossip)
}

// carryOut commits changes, each by itself, and returns them in words.
func (w *world) carryOut(changes []change) string {
	w.t.Helper()
	var lines []string
	for _, c := range changes {
		if _, err := w.store.Commit(context.Background(), c.guards, c.ops); err != nil {
			w.t.Fatalf("%s: %v", c, err)
		}
		lines = append(lines, w.tell(c))
	}
	return strings.Join(lines, "\n")
}

// tell puts a change in words.
func (w *world) tell(c change) string {
	var parts []string
	for _, op := range c.ops {
		if op.Delete.From != "" {
			parts = append(parts, "delete "+short(op.Delete.From))
			continue
		}
		rec := registry.Record{Key: op.Key, Value: op.Value}
		switch prefix, _, _ := strings.Cut(op.Key, "/"); prefix {
		case "assignments":
			a, err := registry.Decode[registry.Assignment](rec)
			if err != nil {
				w.t.Fatal(err)
			}
			parts = append(parts, fmt.Sprintf("put %s %s g%d", op.Key, strings.ToLower(a.Target.String()), a.Generation))
		case "pending":
			p, err := registry.Decode[registry.Pending](rec)
			if err != nil {
				w.t.Fatal(err)
			}
			parts = append(parts, fmt.Sprintf("put %s %s", op.Key, p.Text))
		case "units":
			u, err := registry.Decode[registry.Unit](rec)
			if err != nil {
				w.t.Fatal(err)
			}
			text := "put " + op.Key
			if u.Wish != nil {
				text += " declined: " + strings.Join(u.Wish.Declined, ", ")
			}
			parts = append(parts, text)
		default:
			parts = append(parts, "put "+op.Key)
		}
	}
	return strings.Join(parts, " + ")
}

func short(key string) string {
	if h, ok := strings.CutPrefix(key, registry.FilesPrefix); ok {
		return registry.FilesPrefix + unit.Hash(h).Short()
	}
	return key
}

// says is what gossip says of some machines.
type says map[registry.MachineID]Liveness

func (s says) Liveness(m registry.MachineID) Liveness { return s[m] }
