package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/registry"
)

// TestNewerSchema: a cluster that a newer clusterd wrote is shown, and not
// changed by this one.
func TestNewerSchema(t *testing.T) {
	r := newRig(t)
	r.mustSubmit(web, "inactive", "web.service")
	r.put(registry.ClusterKey, &registry.Cluster{Version: registry.RecordVersion + 1, Id: testCluster, Epoch: 1})
	if err := r.copy.Fresh(r.ctx); err != nil {
		t.Fatal(err)
	}
	_, err := r.submit(web, "launched", "other.service")
	p := problem(err)
	if p.Status != http.StatusConflict || !strings.Contains(p.Message, "cluster/id") || !strings.Contains(p.Message, "its version is 2, this software knows 1; upgrade this machine's clusterd") {
		t.Errorf("submit: got %d, %v", p.Status, err)
	}
	if got := r.list(); !strings.Contains(got, "web.service") || strings.Contains(got, "other.service") {
		t.Errorf("the list is %q", got)
	}
	r.put(registry.ClusterKey, &registry.Cluster{Id: testCluster, Epoch: 1})
	if err := r.copy.Fresh(r.ctx); err != nil {
		t.Fatal(err)
	}
	r.mustSubmit(web, "launched", "other.service")
}
