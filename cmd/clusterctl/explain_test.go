package main

import (
	"testing"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/api"
)

// against is a machine with what keeps a unit off it, rule and detail in turn.
func against(hostname string, reasons ...string) api.MachineReasons {
	m := api.MachineReasons{MachineName: api.MachineName{Machine: registry.MachineID(hostname), Hostname: hostname}}
	for i := 0; i < len(reasons); i += 2 {
		m.Reasons = append(m.Reasons, api.Reason{Rule: reasons[i], Detail: reasons[i+1]})
	}
	return m
}

func TestExplained(t *testing.T) {
	m1, m2 := against("m1").MachineName, against("m2").MachineName
	for _, tt := range []struct {
		name string
		e    api.Explanation
		each bool
		want string
	}{
		{"C-08: without a place", api.Explanation{
			Unit: "web.service", Wanted: true, Pending: true, Change: "uncordon m3",
			Machines: []api.MachineReasons{against("m1", "metadata", "lacks disk=ssd"), against("m2", "metadata", "lacks disk=ssd", "cordon", "is cordoned"), against("m3", "cordon", "is cordoned")},
		}, false, `web.service is without a place: it fits 0 of 3 machines
  RULE      MACHINES  WHY
  metadata  m1, m2    lacks disk=ssd
  cordon    m2, m3    is cordoned
What would help: uncordon m3
`},
		{"in its place", api.Explanation{
			Unit: "web.service", Wanted: true, On: []api.MachineName{m2},
			Machines: []api.MachineReasons{against("m1"), against("m2"), against("m3", "drain", "is being drained")},
		}, true, `web.service is on m2; it would fit m1, too
  MACHINE  RULE   WHY
  m1       -      it fits
  m2       -      it fits
  m3       drain  is being drained
`},
		{"the only place", api.Explanation{
			Unit: "web.service", Wanted: true, On: []api.MachineName{m1}, Machines: []api.MachineReasons{against("m1")},
		}, false, "web.service is on m1, and fits no other of 1 machine\n"},
		{"not to run now", api.Explanation{
			Unit: "web.service", Machines: []api.MachineReasons{against("m1"), against("m2"), against("m3"), against("m4"), against("m5"), against("m6"), against("m7")},
		}, false, "web.service would fit 7 of 7 machines: m1, m2, m3, m4, m5 and 2 more\n"},
		{"nothing helps", api.Explanation{
			Unit: "web.service", Pending: true, Machines: []api.MachineReasons{against("m1", "machine-id", "is not MachineID=m9", "drain", "is being drained")},
		}, false, `web.service would be without a place: it fits 0 of 1 machine
  RULE        MACHINES  WHY
  machine-id  m1        is not MachineID=m9
  drain       m1        is being drained
No single change would help; see what keeps it off each machine with --all
`},
		{"no machine", api.Explanation{Unit: "web.service", Wanted: true, Pending: true}, false, "web.service is without a place: no machine is registered\n"},
	} {
		if got := explained(tt.e, tt.each); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
}
