package api

import (
	"strings"
	"testing"
)

func TestContainerSectionsAreRendered(t *testing.T) {
	_, err := parseFor("web.service", []byte("[Container]\nImage=a\nPorts=80\n"))
	if want := "web.service:3: [Container] has no key Ports=; did you mean PublishPort=?"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	f, err := parseFor("web.service", []byte("[Container]\nImage=a\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(notes("web.service", f), "; "); !strings.HasPrefix(got, "web.service:1: without Network= ") {
		t.Errorf("notes %q", got)
	}
}
