package api

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/registry"
)

func TestVerify(t *testing.T) {
	r := newRig(t)
	r.withB()
	for _, tt := range []struct {
		name, src string
		machine   registry.MachineID
		want      string
	}{
		{"content", sh + "# Fine\n", "", "exit 0: "},
		{"not content", sh, "", "exit 1: web.service:1: A objects"},
		{"another machine, by its host name", sh, "beta", "exit 1: web.service:1: B objects"},
		{"one that isn't", sh, "gamma", "exit 4: machine gamma: no such machine; see clusterctl list-machines"},
		{"what is refused at submit gets nowhere", sh + "Nice=100\n", "", "exit 2: web.service:3: Nice=100 is out of range or no number; give a whole number from -20 to 19"},
		{"what doesn't parse", "ExecStart=/bin/sh\n", "", "exit 2: web.service:1: "},
	} {
		var out bytes.Buffer
		exit, err := r.client.Verify(r.ctx, VerifyRequest{Name: "web.service", File: []byte(tt.src), Machine: tt.machine}, &out)
		got := fmt.Sprintf("exit %d: %s", exit, strings.TrimSpace(out.String()))
		if err != nil {
			got = fmt.Sprintf("exit %d: %v", ExitCode(err), err)
		}
		if !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
	if units := r.list(); units != "" {
		t.Errorf("after looking at files, the cluster knows %s", units)
	}
}
