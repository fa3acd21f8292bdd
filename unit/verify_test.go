package unit

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// verify has the real systemd look at a file. It returns what it says, and
// the lines it complains of. These tests ask for UNIT_VERIFY=1: a run of
// systemd-analyze takes a tenth of a second.
func verify(t *testing.T, name, src string) (said string, lines map[int]bool) {
	program, err := exec.LookPath("systemd-analyze")
	if err != nil || os.Getenv("UNIT_VERIFY") == "" {
		t.Skip("needs systemd-analyze and UNIT_VERIFY=1")
	}
	if at := strings.Index(name, "@."); at >= 0 {
		name = name[:at] + "@i" + name[at+1:]
	}
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(src), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, "verify", "--man=no", file).CombinedOutput()
	lines = map[int]bool{}
	for line := range strings.Lines(string(out)) {
		if rest, ok := strings.CutPrefix(line, file+":"); ok {
			number, _, _ := strings.Cut(rest, ":")
			n, _ := strconv.Atoi(number)
			lines[n] = true
		}
	}
	if err != nil || len(lines) > 0 || strings.Contains(string(out), name) {
		said = fmt.Sprintf("%v\n%s", err, out)
	}
	return said, lines
}

// strict are parts of bad files that systemd-analyze verify is content with,
// each with why we are not.
var strict = map[string]string{
	"CapabilityBoundingSet=":     "systemd drops what it doesn't know without a word",
	"AmbientCapabilities=":       "systemd drops what it doesn't know without a word",
	"SecureBits=":                "systemd drops what it doesn't know without a word",
	"WantedBy=multi-user\n":      "systemctl enable refuses it",
	"Alias=www.socket\n":         "systemctl enable refuses it",
	"Alias=www\n":                "systemctl enable refuses it",
	"Also=a b.service\n":         "systemctl enable refuses it",
	"ConditionFirstBoot=maybe\n": "the condition fails on every machine",
	"ConditionACPower=on ":       "the condition fails on every machine",
	"[Swap]\nPriority=5\n":       "its manual page has What= as mandatory",
	"\nAfter=\n":                 "systemd keeps what it was to take back without a word",
}

func TestBadFilesAreBadToSystemd(t *testing.T) {
	archives, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range archives {
		if filepath.Base(path) == "cluster.txtar" {
			continue
		}
		for _, b := range badFiles(t, path) {
			ours := ""
			for part, why := range strict {
				if strings.Contains(b.src, part) {
					ours = why
				}
			}
			if said, _ := verify(t, b.name, b.src); (said == "") != (ours != "") {
				t.Errorf("%s: systemd-analyze says %s to\n%s%s", path, said, b.src, ours)
			}
		}
	}
}

// TestValuesAsSystemdSeesThem makes values up, good ones and bad, and compares
// line by line which of them systemd takes.
func TestValuesAsSystemdSeesThem(t *testing.T) {
	for _, tt := range []struct{ key, parts string }{
		{"RestartSec", "1 20 5 . .5 s ms min m M h d w y us usec infinity - + x sec minutes month , 0"},
		{"TimeoutStopSec", "1 2 s 3min 4h infinity 0 -1 1.5"},
		{"TimerSlackNSec", "1 5 ns us ms s . nsec x"},
		{"MemoryHigh", "1 5 0 + . K M G T P B % infinity KB x - ‰ 50% 100% 12.5%"},
		{"MemoryMin", "0 1 K % infinity 0% x"},
		{"LimitCORE", "1 0 : K infinity M x 5G -1"},
		{"LimitCPU", "1 : s min infinity x 5"},
		{"LimitNOFILE", "1 : 1024 infinity K 0x10 + x"},
		{"LimitNICE", "1 : -1 +2 20 40 19 41 0x10 infinity"},
		{"RemainAfterExit", "yes no true 1 0 on off y n t f 2 x YES"},
		{"KillSignal", "SIG TERM 9 RTMIN +1 RTMAX -1 HUP 64 65 0 term INFO"},
		{"UMask", "0 7 22 8 77 0o 777 7777 x"},
		{"CPUQuota", "1 50 . 5 % 0% 250% 0.5% infinity ‰ -"},
		{"TasksMax", "1 50% 100% 101% infinity K -1 512 0x1F + 0b1"},
		{"Nice", "1 19 20 -20 -21 + x"},
		{"OOMScoreAdjust", "1000 1001 -1000 0 x -"},
		{"CPUWeight", "1 0 10000 10001 idle x"},
		{"IOSchedulingPriority", "1 7 8 -1 x"},
		{"StandardOutput", "null journal file: /x append: fd x tty + console inherit"},
		{"Environment", "A B =b =c 1 _ ' \" %i \\ - = a"},
		{"ExecStartPre=-", "@ + ! : /bin/true true ./x \" ' ; a \\x20 /bin/"},
		{"WorkingDirectory=-", "~ /a b %h . /"},
		{"StateDirectory", "a b/c .. . / ' \" a-b"},
		{"ReadWritePaths", "/a - + b ' \" %h"},
		{"Slice", "a b a.slice a.service a-b.slice"},
		{"SyslogFacility", "daemon local0 local8 x 0 1 16 127 128 -1 +3 0x1"},
		{"RestrictAddressFamilies", "AF_INET AF_UNIX AF_FOO ~ none inet"},
		{"RestrictNamespaces", "yes no ~ net mnt foo uts"},
		{"SystemCallFilter", "@aio @file-system ~ @foo @mount @system-service"},
		{"SystemCallArchitectures", "native x86 x86-64 amd64 arm"},
		{"SuccessExitStatus", "1 255 256 SIGTERM SIGFOO TERM -1 0"},
		{"IPAddressAllow", "any localhost 10.0.0.1 /8 /33 10.0.0.0/24 ::1 x fe80::/10 link-local"},
	} {
		compareLines(t, "web.service", "[Service]\nExecStart=/bin/true\n", tt.key, tt.parts)
	}
	for key, parts := range map[string]string{
		"ListenStream":   "1 80 0 : 1.2.3.4 ::1 [::1] [ ] + 0x50 65535 65536 /a @a a vsock:: 2 * %i",
		"ListenFIFO":     "/a b @c",
		"SocketMode":     "0 666 8 x",
		"IPTOS":          "low-delay low-cost 0 1 16 255 256 + -1 0x10 x",
		"ListenNetlink":  "route kobject-uevent 1 0x1 + - x 15",
		"ReceiveBuffer":  "1 K M . x",
		"MaxConnections": "1 0 -1 x",
	} {
		compareLines(t, "web.socket", "[Socket]\nListenStream=9999\n", key, parts)
	}
	compareLines(t, "web.timer", "[Timer]\nOnBootSec=5\nUnit=foo.service\n", "OnCalendar", "daily Mon Tue..Thu Fri..Tue utc , Fri: * *-*-* 2024-01-01 01-01 1 / - ~ .. 10:00 :30 10:00:00.5 UTC x Europe/Berlin */2")
}

func compareLines(t *testing.T, name, head, key, parts string) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, uint64(len(key))))
	words := strings.Fields(parts)
	if !strings.Contains(key, "=") { // else the values all begin with what follows it
		key += "="
	}
	text := strings.Builder{}
	text.WriteString(head)
	values := map[int]string{}
	n := strings.Count(head, "\n")
	for range problemsMax - 10 {
		value := ""
		for range 1 + r.IntN(3) {
			value += words[r.IntN(len(words))]
			if r.IntN(6) == 0 {
				value += " "
			}
		}
		n++
		values[n] = strings.TrimRight(value, ` \`)
		fmt.Fprintf(&text, "%s%s\n", key, values[n])
	}
	_, theirs := verify(t, name, text.String())
	f, err := Parse(name, []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	ours := map[int]bool{}
	for _, p := range f.Check(Name(name), CheckOptions{Systemd: 252}) {
		ours[p.Line] = true
	}
	for line, value := range values {
		if ours[line] != theirs[line] {
			t.Errorf("%s%s: we complain %v, systemd %v", key, value, ours[line], theirs[line])
		}
	}
}
