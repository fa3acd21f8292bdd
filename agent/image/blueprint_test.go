package image

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/clusterd/clusterd/agent/sheet"
)

func TestEveryFieldOfABlueprintIsKept(t *testing.T) {
	id := func(c string) Digest { return Digest("sha256:" + strings.Repeat(c, 64)) }
	full := &Blueprint{
		Created:  time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
		Platform: Platform{OS: "linux", Architecture: "arm64", Variant: "v8"},
		DiffIDs:  []Digest{id("a"), id("b")},
		Config: Config{
			Env: []string{"A=1\n2", "B="}, Entrypoint: []string{"/entry", ""}, Cmd: []string{"-c", "exit"},
			WorkingDir: "/srv", User: "www:80", StopSignal: "SIGQUIT",
			Labels:       map[string]string{"a": "", "b": "x=y"},
			Volumes:      map[string]struct{}{"/data": {}, "/more": {}},
			ExposedPorts: map[string]struct{}{"80/tcp": {}},
		},
	}
	for _, part := range []reflect.Value{reflect.ValueOf(*full), reflect.ValueOf(full.Config)} {
		for i := range part.NumField() {
			if part.Field(i).IsZero() {
				t.Errorf("%s is not tried", part.Type().Field(i).Name)
			}
		}
	}
	for _, want := range []*Blueprint{full, {DiffIDs: []Digest{id("c")}}} {
		got, err := decodeBlueprint(want.encode())
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
		}
	}
	broken := full.encode()
	broken[20] ^= 4
	if _, err := decodeBlueprint(broken); !errors.Is(err, sheet.ErrDamaged) {
		t.Errorf("%v, want it damaged", err)
	}
}
