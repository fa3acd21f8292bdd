package agent

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/clusterd/clusterd/registry"
)

// clusterCheck compares the registry's cluster record with the one this
// machine has seen, so that nothing is done for another cluster or from a
// backup that is older than what runs.
type clusterCheck struct {
	path    string
	id      string // empty: the first one seen
	epoch   uint64
	frozen  string
	foreign bool // the registry is another cluster's: nothing may be written there
}

func openClusterCheck(path, id string) clusterCheck {
	c := clusterCheck{path: path, id: id, frozen: "no cluster record was read yet"}
	var seen struct {
		ID    string
		Epoch uint64
	}
	if b, err := os.ReadFile(path); err == nil && json.Unmarshal(b, &seen) == nil && (id == "" || id == seen.ID) {
		c.id, c.epoch = seen.ID, seen.Epoch
	}
	return c
}

func (c *clusterCheck) take(e registry.Event) {
	if e.Deleted {
		c.frozen, c.foreign = "the registry has no cluster record; restore it, or run clusterd init", false
		return
	}
	r, err := registry.Decode[registry.Cluster](e.Record)
	switch {
	case err != nil:
		c.frozen, c.foreign = err.Error(), false
	case c.id != "" && r.Id != c.id:
		c.frozen, c.foreign = fmt.Sprintf("the registry is cluster %s's, this machine belongs to %s; point it at its own registry, or join it anew", r.Id, c.id), true
	case r.Epoch < c.epoch:
		c.frozen, c.foreign = fmt.Sprintf("the registry is at epoch %d, this machine has seen %d; raise the epoch after restoring a backup", r.Epoch, c.epoch), false
	default:
		c.frozen, c.foreign = "", false
		c.remember(r.Id, r.Epoch)
	}
}

// remember keeps what was seen for the next clusterd. That this can fail is no
// reason to stop working.
func (c *clusterCheck) remember(id string, epoch uint64) {
	if c.id == id && c.epoch == epoch && epoch != 0 {
		return
	}
	c.id, c.epoch = id, epoch
	b, err := json.Marshal(map[string]any{"ID": id, "Epoch": epoch})
	if err == nil {
		_ = replaceFile(c.path, b)
	}
}
