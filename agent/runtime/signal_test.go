package runtime

import (
	"fmt"
	"testing"
)

func TestParseSignal(t *testing.T) {
	for text, want := range map[string]string{
		"TERM": "15", "SIGTERM": "15", "sigterm": "15", "15": "15", "64": "64",
		"SIGRTMIN+3": "37", "rtmin": "34", "RTMAX-1": "63", "SIGRTMAX": "64", "RTMIN+30": "64", "RTMAX-30": "34",
		"CLD": "17", "SIGIOT": "6", "POLL": "29",
		"": "", "SIG": "", "0": "", "65": "", "-1": "", "FOO": "", "SIGSIGTERM": "",
		"RTMIN+31": "", "RTMIN-1": "", "RTMIN+": "", "RTMIN3": "", "RTMAX+1": "", "RTMIN+-1": "", "RTMIN+x": "",
	} {
		got := ""
		if sig, err := ParseSignal(text); err == nil {
			got = fmt.Sprint(int(sig))
		}
		if got != want {
			t.Errorf("%q: got signal %q, want %q", text, got, want)
		}
	}
}
