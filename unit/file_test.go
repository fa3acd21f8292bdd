package unit_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/clusterd/clusterd/unit"
)

// show prints what a file says, a line for each value in force.
func show(f *unit.File) string {
	var b strings.Builder
	for _, section := range f.Sections() {
		for _, key := range f.Keys(section) {
			for _, v := range f.Values(section, key) {
				fmt.Fprintf(&b, "%d [%s] %s=%s\n", v.Line, section, key, v.Text)
			}
		}
	}
	return b.String()
}

func TestParse(t *testing.T) {
	for _, tt := range []struct{ name, src, want string }{
		{
			name: "comments and blank lines say nothing",
			src:  "# a\n; b\n\n  # c\n[Service]\n\tExecStart = /bin/true \n",
			want: "6 [Service] ExecStart=/bin/true\n",
		},
		{
			name: "a backslash continues a line, comments between are dropped",
			src:  "[Service]\nExecStart=/bin/echo \\\n  one \\\n# not this\n; nor this\n two\nType=simple\n",
			want: "2 [Service] ExecStart=/bin/echo    one   two\n7 [Service] Type=simple\n",
		},
		{
			name: "an escaped backslash continues nothing",
			src:  "[Service]\nExecStart=/bin/echo \\\\\nType=simple\n",
			want: "2 [Service] ExecStart=/bin/echo \\\\\n3 [Service] Type=simple\n",
		},
		{
			name: "a comment is not continued",
			src:  "[Service]\n# a \\\nType=simple\n",
			want: "3 [Service] Type=simple\n",
		},
		{
			name: "a continued last line ends with the file",
			src:  "[Service]\nExecStart=/bin/true \\",
			want: "2 [Service] ExecStart=/bin/true\n",
		},
		{
			name: "keys repeat, sections too",
			src:  "[Service]\nExecStartPre=a\n[Unit]\nAfter=x\n[Service]\nExecStartPre=b\n",
			want: "2 [Service] ExecStartPre=a\n6 [Service] ExecStartPre=b\n4 [Unit] After=x\n",
		},
		{
			name: "an empty assignment drops those before it",
			src:  "[Service]\nExecStart=a\nExecStart=b\nExecStart=\nExecStart=c\n",
			want: "5 [Service] ExecStart=c\n",
		},
		{
			name: "CR LF, a lone CR and a byte order mark",
			src:  "\ufeff[Service]\r\nExecStart=a \\\r\nb\rType=simple\r\n",
			want: "2 [Service] ExecStart=a  b\n4 [Service] Type=simple\n",
		},
		{
			name: "a value keeps its equals signs and hashes",
			src:  "[Service]\nEnvironment=A=b#c\n",
			want: "2 [Service] Environment=A=b#c\n",
		},
		{
			name: "a very long line",
			src:  "[Service]\nExecStart=/bin/echo " + strings.Repeat("x", 500_000) + "\n",
			want: "2 [Service] ExecStart=/bin/echo " + strings.Repeat("x", 500_000) + "\n",
		},
	} {
		f, err := unit.Parse("web.service", []byte(tt.src))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := show(f); got != tt.want {
			t.Errorf("%s: got\n%.400s\nwant\n%.400s", tt.name, got, tt.want)
		}
	}
}

func TestA07_BytesAreKept(t *testing.T) {
	src := "# first\n\n[Service]\r\n  ExecStart = /bin/echo \\\n   a\n\n; last, " + strings.Repeat("long ", 30_000) + "\nType=simple"
	f, err := unit.Parse("web.service", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(f.Bytes(), []byte(src)) {
		t.Error("Bytes() is not what was parsed")
	}
	if want := unit.HashOf([]byte(src)); f.Hash() != want || len(want) != 64 {
		t.Errorf("Hash() = %s, want %s", f.Hash(), want)
	}
}

func TestParseErrors(t *testing.T) {
	for _, tt := range []struct{ name, src, want string }{
		{
			name: "outside of a section",
			src:  "\n\n\nExecStart=/bin/true\n[Service]\n",
			want: "web.service:4: ExecStart= stands before any section; put a header such as [Service] above it",
		},
		{
			name: "all errors at once",
			src:  "[Service\nType=simple\nfoo\n[Unit] # no\n=x\n",
			want: `web.service:1: "[Service" is no section header; write it as [Service], with nothing behind the bracket
web.service:3: "foo" has no =; write Key=value, or end the line before it with a backslash to continue it
web.service:4: "[Unit] # no" is no section header; write it as [Service], with nothing behind the bracket
web.service:5: nothing stands before the =; put the setting's name there`,
		},
		{
			name: "the line where a continued line begins",
			src:  "[Service]\nfoo \\\n bar \\\n baz\n",
			want: `web.service:2: "foo   bar   baz" has no =; write Key=value, or end the line before it with a backslash to continue it`,
		},
		{
			name: "not a text",
			src:  "[Service]\nType=a\x00b",
			want: "web.service:2: a NUL byte; give a text file in UTF-8",
		},
		{
			name: "not UTF-8",
			src:  "[Service]\nDescription=\xff\n",
			want: "web.service:2: the line is not UTF-8; save the file in UTF-8",
		},
		{
			name: "empty",
			src:  "",
			want: "web.service: the file has no section; systemd takes such a file for a masked unit; put a header such as [Service] and settings into it",
		},
		{
			name: "too large",
			src:  strings.Repeat("#", unit.FileMax+1),
			want: "web.service: the file has 1048577 bytes, more than the 1048576 a unit may have; keep large data in a file of its own on the machines",
		},
	} {
		_, err := unit.Parse("web.service", []byte(tt.src))
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: got\n%v\nwant\n%s", tt.name, err, tt.want)
		}
	}
}

// Nonsense of the largest size that is read is answered at once.
func TestHostileFiles(t *testing.T) {
	many := func(line func(i int) string) string {
		var b strings.Builder
		for i := 0; b.Len() < unit.FileMax-100; i++ {
			b.WriteString(line(i))
		}
		return b.String()
	}
	for name, src := range map[string]string{
		"sections":     many(func(i int) string { return fmt.Sprintf("[%d]\n", i) }),
		"keys":         "[Service]\n" + many(func(i int) string { return fmt.Sprintf("%d=\n", i) }),
		"conflicts":    "[X-Cluster]\n" + many(func(i int) string { return fmt.Sprintf("Conflicts=%d\n", i) }),
		"words":        "[X-Cluster]\nConflicts=" + many(func(i int) string { return fmt.Sprintf("%d ", i) }),
		"requirements": "[X-Cluster]\n" + many(func(i int) string { return fmt.Sprintf("MachineMetadata=a=%d a!=%d\n", i, -i) }),
		"fleet":        "[X-Fleet]\n" + many(func(i int) string { return fmt.Sprintf("%d=x\n", i) }),
		"backslashes":  "[Service]\nExecStart=/bin/true " + many(func(i int) string { return `\\q` }),
		"continuation": "[Service]\nExecStart=" + many(func(i int) string { return "a \\\n" }),
		"errors":       many(func(i int) string { return "x\n" }),
		"quotes":       "[Service]\nEnvironment=" + many(func(i int) string { return "''" }),
		"empty":        "[Unit]\n" + many(func(i int) string { return "After=\n" }),
		"assignments":  "[Unit]\n" + many(func(i int) string { return "After=a.service\n" }),
	} {
		start := time.Now()
		if f, err := unit.Parse("web.service", []byte(src)); err == nil {
			lookAtAll(t, f, "web.service")
		}
		took := time.Since(start)
		t.Logf("%s: %v", name, took)
		if took > 10*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
	}
}

func TestLastAndDescription(t *testing.T) {
	f, err := unit.Parse("web.service", []byte("[Unit]\nDescription=A web\n[Service]\nType=simple\nType=notify\nKillMode=none\nKillMode=\n"))
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := f.Last("Service", "Type"); !ok || v.Text != "notify" || v.Line != 5 {
		t.Errorf("Last(Type) = %v, %v", v, ok)
	}
	if v, ok := f.Last("Service", "KillMode"); ok {
		t.Errorf("Last(KillMode) = %v, though it was taken back", v)
	}
	if f.Description() != "A web" {
		t.Errorf("Description() = %q", f.Description())
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"[Service]\nExecStart=/bin/true\n", "[a]\nb=c \\\n d", "\ufeff[X-Cluster]\r\nGlobal=yes\r\n", "x=y", "[", "[]", "\\", "[X-Cluster]\nMachineOf=%p@%i 'a b\n",
		"[X-Fleet]\nX-Conflicts=web@*\nMachineMetadata=\"a=b\" c=d\n",
	} {
		f.Add([]byte(s))
	}
	for _, s := range []string{
		"[X-Cluster]\nMachineMetadata=a!=b c>5 d in x,y e exists\nPrefer=a<3\nRequests=cpu=50% memory=1G\nSpread=r\nPriority=5\n",
		"[Socket]\nListenStream=[::1]:80\nListenDatagram=vsock::5\n[Unit]\nAfter=a@.service %i.device\n",
		"[Service]\nExecStart=-@/usr/bin/nsrun x run -p 1-5:1-5/udp img ; y\nMemoryMax=5%\nLimitNOFILE=1:2\nEnvironment='A=b' \\x\nRestart=alwas\n",
		"[Timer]\nOnCalendar=Mon..Fri *-*-01..15/2~3 00/2:0:0.5 UTC\nAccuracySec=1h 5min\n[Mount]\nWhere=/fuzz/..\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		first, err := unit.Parse("fuzz@1.service", src)
		if err != nil {
			return // refusing is fine; panicking, hanging or lying is not
		}
		again, err := unit.Parse("fuzz@1.service", first.Bytes())
		if err != nil || again.Hash() != first.Hash() || !bytes.Equal(first.Bytes(), src) {
			t.Fatalf("not the same after a round trip: %v\n%s", err, first.Bytes())
		}
		for _, section := range first.Sections() {
			for _, key := range first.Keys(section) {
				for _, v := range first.Values(section, key) {
					if v.Line < 1 || v.Line > bytes.Count(src, []byte("\n"))+bytes.Count(src, []byte("\r"))+1 {
						t.Fatalf("[%s] %s= is in line %d", section, key, v.Line)
					}
					_, _, _ = unit.SplitCommand(v.Text)
				}
			}
		}
		for _, name := range []unit.Name{"fuzz@1.service", "fuzz@.service", "fuzz.socket", "fuzz.timer", "fuzz.mount", "fuzz.slice"} {
			lookAtAll(t, first, name)
		}
	})
}

// lookAtAll asks a file everything there is to ask: nothing may panic, and no
// problem may lie outside the file.
func lookAtAll(t *testing.T, f *unit.File, name unit.Name) {
	o, err := f.Options(name)
	if err == nil {
		for _, r := range append(o.Requirements, o.Prefer...) {
			if lacks := r.Lacks(nil); r.Matches(nil) != (lacks == "") {
				t.Fatalf("%s: matches, and %s", r, lacks)
			}
		}
	}
	lines := bytes.Count(f.Bytes(), []byte("\n")) + bytes.Count(f.Bytes(), []byte("\r")) + 1
	refused := false
	for _, p := range f.Check(name, unit.CheckOptions{}) {
		if p.Line < 0 || p.Line > lines || p.What == "" || p.Fix == "" {
			t.Fatalf("problem in line %d of %d: %s", p.Line, lines, p)
		}
		refused = refused || !p.Warning
	}
	if err != nil && !refused {
		t.Fatalf("Check says nothing of %v", err)
	}
	for _, p := range f.Ports(name) {
		if p.Number == 0 || p.Last < p.Number || !p.Clashes(p) {
			t.Fatalf("port %+v", p)
		}
	}
	for _, d := range f.Dependencies(name) {
		if strings.ContainsAny(string(d.Unit), "/ \x00") {
			t.Fatalf("dependency on %q", d.Unit)
		}
	}
	_ = f.Install(name)
	_, _ = f.Resources(name)
}

const busybox = `[Unit]
Description=Busybox

[Service]
TimeoutStartSec=0
ExecStartPre=-/usr/bin/nsrun kill busybox1
ExecStartPre=-/usr/bin/nsrun rm busybox1
ExecStartPre=/usr/bin/nsrun pull busybox
ExecStart=/usr/bin/nsrun run --name busybox1 busybox /bin/sh -c "while true; do echo Hello World; sleep 1; done"
ExecStop=/usr/bin/nsrun stop busybox1

[X-Cluster]
MachineMetadata=region=eu
Conflicts=web@*.service
`
