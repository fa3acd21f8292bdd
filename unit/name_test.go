package unit_test

import (
	"strings"
	"testing"

	"github.com/clusterd/clusterd/unit"
)

func TestA09_ParseName(t *testing.T) {
	for _, tt := range []struct{ give, want, err string }{
		{give: "web.service", want: "web.service"},
		{give: "web", want: "web.service"},
		{give: "web@1", want: "web@1.service"},
		{give: "web@1.2", want: "web@1.2.service"},
		{give: "web@", want: "web@.service"},
		{give: "web@a@b.timer", want: "web@a@b.timer"},
		{give: "foo.bar", want: "foo.bar.service"},
		{give: "web.socket", want: "web.socket"},
		{give: "web.service.d", want: "web.service.d.service"},
		{give: `srv-a\x20b.mount`, want: `srv-a\x20b.mount`},
		{give: "-.mount", want: "-.mount"},
		{give: "a:b_c-d.service", want: "a:b_c-d.service"},
		{give: strings.Repeat("a", 232), want: strings.Repeat("a", 232) + ".service"},
		{give: "", err: "it is empty"},
		{give: strings.Repeat("a", 233), err: "it has 241 bytes; use at most 240"},
		{give: "@1.service", err: "nothing stands before the @"},
		{give: "@", err: "nothing stands before the @"},
		{give: ".service", err: "begins with a dot"},
		{give: ".", err: "begins with a dot"},
		{give: "..", err: "begins with a dot"},
		{give: "../../etc/web.service", err: "contains a /; a name is no path"},
		{give: "a/b", err: "contains a /"},
		{give: "a b.service", err: `contains ' '`},
		{give: "a\nb.service", err: `contains '\n'`},
		{give: "a\x00.service", err: `contains '\x00'`},
		{give: "wéb.service", err: "use letters, digits"},
		{give: "web%i.service", err: "contains '%'"},
		{give: "a.target", want: "a.target"},
		{give: "a@1.target", want: "a@1.target"},
		{give: "a@.path", want: "a@.path"},
		{give: "a@.socket", want: "a@.socket"},
		{give: "srv.automount", want: "srv.automount"},
		{give: "dev-sda1.swap", want: "dev-sda1.swap"},
		{give: "a-b.slice", want: "a-b.slice"},
		{give: "-.slice", want: "-.slice"},
		{give: "a@1.mount", err: `no templates of type .mount; take the @ out, or write it as \x40`},
		{give: "a@.slice", err: "no templates of type .slice"},
		{give: "a@.swap", err: "no templates of type .swap"},
		{give: "a@.automount", err: "no templates of type .automount"},
		{give: "a--b.slice", err: "write it as parent-child.slice"},
		{give: "-a.slice", err: "write it as parent-child.slice"},
		{give: "sda.device", err: "systemd makes .device units itself"},
	} {
		got, err := unit.ParseName(tt.give)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("ParseName(%q) = %q, %v, want an error with %q", tt.give, got, err, tt.err)
			}
			continue
		}
		if err != nil || string(got) != tt.want {
			t.Errorf("ParseName(%q) = %q, %v, want %q", tt.give, got, err, tt.want)
		}
	}
}

func TestNameParts(t *testing.T) {
	for _, tt := range []struct {
		name                          unit.Name
		typ, prefix, instance, parent string
		template                      bool
	}{
		{name: "web.service", typ: "service", prefix: "web"},
		{name: "web@.service", typ: "service", prefix: "web", template: true},
		{name: "web@1.service", typ: "service", prefix: "web", instance: "1", parent: "web@.service"},
		{name: "a-b@x@y.timer", typ: "timer", prefix: "a-b", instance: "x@y", parent: "a-b@.timer"},
		{name: "web@1.2.service", typ: "service", prefix: "web", instance: "1.2", parent: "web@.service"},
	} {
		instance, hasInstance := tt.name.Instance()
		parent, hasParent := tt.name.Template()
		if tt.name.Type() != tt.typ || tt.name.Prefix() != tt.prefix || instance != tt.instance || hasInstance != (tt.instance != "") ||
			string(parent) != tt.parent || hasParent != (tt.parent != "") || tt.name.IsTemplate() != tt.template {
			t.Errorf("%s: type %s, prefix %s, instance %q %v, template %q %v, is template %v",
				tt.name, tt.name.Type(), tt.name.Prefix(), instance, hasInstance, parent, hasParent, tt.name.IsTemplate())
		}
		if hasParent && parent.InstanceOf(instance) != tt.name {
			t.Errorf("%s: its template's instance is %s", tt.name, parent.InstanceOf(instance))
		}
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"web", "web@1.service", "@", "..", "a/b", `a\x2d`, "x.device", "web@.timer"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := unit.ParseName(s)
		if err != nil {
			return
		}
		again, err := unit.ParseName(n.String())
		if err != nil || again != n {
			t.Fatalf("ParseName(%q) = %q, and of that %q, %v", s, n, again, err)
		}
		if strings.ContainsAny(n.String(), "/\x00\n ") || n[0] == '.' || len(n) > unit.NameMax {
			t.Fatalf("ParseName(%q) let %q through", s, n)
		}
		if parent, ok := n.Template(); ok {
			if instance, _ := n.Instance(); parent.InstanceOf(instance) != n || !parent.IsTemplate() {
				t.Fatalf("%q is not the instance %q of %q", n, instance, parent)
			}
		}
	})
}
