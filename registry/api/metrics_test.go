package api

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestMetricsOfOthersAreServed(t *testing.T) {
	others := prometheus.NewRegistry()
	leads := prometheus.NewGauge(prometheus.GaugeOpts{Name: "etcd_server_is_leader", Help: "As etcd has it."})
	others.MustRegister(leads)
	leads.Set(1)
	s, err := NewServer(Config{Cluster: testCluster, Machine: machineA, Gather: others, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	if err := s.serveMetrics(w, httptest.NewRequest("GET", "/metrics", nil)); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"clusterd_control 0", "clusterd_copy_revision 0", "etcd_server_is_leader 1"} {
		if !strings.Contains(w.Body.String(), "\n"+line+"\n") {
			t.Errorf("want %q among the metrics, got:\n%s", line, w.Body)
		}
	}
}
