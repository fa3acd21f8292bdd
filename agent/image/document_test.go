package image

import (
	"strings"
	"testing"
)

func manifestJSON(mediaType, rest string) string {
	return `{"schemaVersion":2,"mediaType":"` + mediaType + `"` + rest + `}`
}

const (
	configField  = `,"config":{"digest":"` + someDigest + `","size":10}`
	layersField  = `,"layers":[{"digest":"` + someDigest + `","size":10}]`
	indexedField = `,"manifests":[{"digest":"` + someDigest + `","size":10}]`
)

func TestParseDocument(t *testing.T) {
	for _, tt := range []struct{ name, data, contentType, want string }{
		{"manifest", manifestJSON(TypeManifest, configField+layersField), TypeManifest, ""},
		{"docker's", manifestJSON(TypeDockerManifest, configField+layersField), TypeDockerManifest + "; charset=utf-8", ""},
		{"index", manifestJSON(TypeIndex, indexedField), TypeIndex, ""},
		{"type only in the header", `{"schemaVersion":2` + indexedField + `}`, TypeIndex, ""},
		{"type nowhere", `{"schemaVersion":2` + configField + layersField + `}`, "", ""},
		{"both", manifestJSON(TypeManifest, configField+layersField+indexedField), TypeManifest, "has both layers and manifests"},
		{"index with a config", manifestJSON(TypeIndex, configField+indexedField), TypeIndex, "has both layers and manifests"},
		{"other header", manifestJSON(TypeManifest, configField+layersField), TypeIndex, "calls itself"},
		{"index that calls itself manifest", manifestJSON(TypeManifest, indexedField), "", "its content is something else"},
		{"key twice", manifestJSON(TypeManifest, configField+layersField+layersField), TypeManifest, `has the key "layers" twice`},
		{"key with capitals", manifestJSON(TypeManifest, configField+`,"Layers":[]`+layersField), TypeManifest, `has the key "Layers", too like "layers"`},
		{"old schema", `{"schemaVersion":1,"layers":[]}`, "", "schema version 1"},
		{"something else", `{"schemaVersion":2}`, "", "is neither an image nor a list of images"},
		{"no object", `[]`, "", "is no JSON object"},
		{"text behind", manifestJSON(TypeManifest, configField+layersField) + "{}", TypeManifest, "has something after its end"},
		{"bad digest", manifestJSON(TypeManifest, `,"config":{"digest":"sha256:../../x","size":1}`+layersField), TypeManifest, "64 lower-case hexadecimal digits"},
		{"negative size", manifestJSON(TypeManifest, configField+strings.Replace(layersField, "10", "-1", 1)), TypeManifest, "has a negative size"},
		{"huge config", manifestJSON(TypeManifest, strings.Replace(configField, "10", "99999999", 1)+layersField), TypeManifest, "its configuration has more than"},
	} {
		doc, err := ParseDocument([]byte(tt.data), tt.contentType)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want == "" && doc.IsIndex() == (len(doc.Layers) == 1):
			t.Errorf("%s: read as %+v", tt.name, doc)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
	}
}

func FuzzParseDocument(f *testing.F) {
	f.Add([]byte(manifestJSON(TypeManifest, configField+layersField)))
	f.Add([]byte(manifestJSON(TypeIndex, indexedField)))
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := ParseDocument(data, "")
		if err == nil && doc.IsIndex() && (len(doc.Layers) > 0 || doc.Config.Digest != "") {
			t.Fatalf("two things at once: %+v", doc)
		}
		_, _ = ParseConfig(data)
	})
}

// What can't be read again would be an image that is damaged for ever, and
// nothing is pruned beside one.
func TestCreatedOutOfAllYears(t *testing.T) {
	const rest = `,"rootfs":{"type":"layers","diff_ids":["` + someDigest + `"]}}`
	for created, ok := range map[string]bool{
		"9999-12-31T23:59:59Z": true, "9999-12-31T23:59:59-01:00": false,
		"0000-01-01T00:00:00Z": true, "0000-01-01T00:00:00+01:00": false,
	} {
		print, err := ParseConfig([]byte(`{"created":"` + created + `"` + rest))
		if ok != (err == nil) {
			t.Errorf("%s: %v", created, err)
		}
		if ok {
			checkBlueprint(t, print)
		}
	}
}

func checkBlueprint(t *testing.T, print *Blueprint) {
	t.Helper()
	again, err := decodeBlueprint(print.encode())
	if err != nil || string(again.encode()) != string(print.encode()) {
		t.Fatalf("not the same after a round trip: %v\n%s", err, print.encode())
	}
}

// FuzzParseConfig: what a configuration is read as has only digests for layers,
// and is the same when it comes from what the store keeps.
func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"architecture":"amd64","os":"linux","created":"2024-01-02T03:04:05Z","config":{"Env":["A=1"],"Cmd":["sh"],"Labels":{"a":"b"}},"rootfs":{"type":"layers","diff_ids":["sha256:` + strings.Repeat("0", 64) + `"]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		print, err := ParseConfig(data)
		if err != nil {
			return
		}
		checkBlueprint(t, print)
		for _, id := range print.DiffIDs {
			if got, err := ParseDigest(string(id)); err != nil || got != id || strings.ContainsAny(id.Hex(), "./") {
				t.Fatalf("a layer called %q: %v", id, err)
			}
		}
	})
}
