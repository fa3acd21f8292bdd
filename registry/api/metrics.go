package api

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

type metrics struct {
	requests *prometheus.CounterVec
	problems *prometheus.CounterVec
	handler  http.Handler
}

func newMetrics(s *Server) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "clusterd_api_requests_total", Help: "Calls of the API.",
		}, []string{"method", "path"}),
		problems: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "clusterd_api_problems_total", Help: "Calls of the API answered with an error, by HTTP status.",
		}, []string{"status"}),
	}
	all := prometheus.Gatherers{s.Metrics}
	if s.Gather != nil {
		all = append(all, s.Gather)
	}
	m.handler = promhttp.HandlerFor(all, promhttp.HandlerOpts{})
	control := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "clusterd_control", Help: "1 on a control machine.",
	}, func() float64 {
		if s.control.Load() != nil {
			return 1
		}
		return 0
	})
	revision := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "clusterd_copy_revision", Help: "The registry's revision up to which this machine's copy is complete; 0 without one.",
	}, func() float64 {
		if c := s.control.Load(); c != nil {
			return float64(c.Copy.Revision())
		}
		return 0
	})
	age := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "clusterd_copy_age_seconds", Help: "How long ago the registry last confirmed this machine's copy; 0 without one.",
	}, func() float64 {
		if c := s.control.Load(); c != nil {
			return c.Copy.Age().Seconds()
		}
		return 0
	})
	for _, c := range []prometheus.Collector{m.requests, m.problems, control, revision, age} {
		if err := s.Metrics.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (s *Server) serveMetrics(w http.ResponseWriter, r *http.Request) error {
	s.metrics.handler.ServeHTTP(w, r)
	return nil
}
