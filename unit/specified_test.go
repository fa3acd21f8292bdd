package unit

import (
	"fmt"
	"strings"
	"testing"
)

// specified are values with specifiers, each with instances that systemd takes
// it for, and others that it doesn't: those behind a !. A template is refused
// where there is none of the first. What only a machine can tell is taken.
var specified = []struct{ typ, section, line, instances string }{
	{"timer", "Timer", "OnCalendar=%i", "daily Mon !never"},
	{"timer", "Timer", "OnCalendar=%I", `Mon..Fri\x2008:00 \x2a\x2d\x2a\x2d01 !x-y`},
	{"timer", "Timer", "OnCalendar=*-*-* 08:%i:00", "30 0 !60 !x"},
	{"timer", "Timer", "OnCalendar=%j", "!a !daily"},
	{"timer", "Timer", "OnUnitActiveSec=%i", "5min 90 infinity !soon"},
	{"timer", "Timer", "OnBootSec=%imin", "1 !a"},
	{"timer", "Timer", "OnActiveSec=%H%%", ""},
	{"timer", "Timer", "AccuracySec=%i", "!1 !5min"},
	{"timer", "Timer", "RandomizedDelaySec=%i", "!1"},
	{"socket", "Socket", "ListenStream=%i", "8080 !0 !a !127.0.0.1"},
	{"socket", "Socket", "ListenStream=%I", "-srv-x 80 !srv-x"},
	{"socket", "Socket", "ListenStream=127.0.0.1:%i", "8080 !x"},
	{"socket", "Socket", "ListenDatagram=%i:80", "127.0.0.1 !a"},
	{"socket", "Socket", "ListenStream=+%i", "80"},
	{"socket", "Socket", "ListenFIFO=%I", "-run-x !run-x"},
	{"socket", "Socket", "ListenFIFO=run/%i", "!x"},
	{"socket", "Socket", "ListenSequentialPacket=%I", "-run-x !run-x"},
	{"socket", "Socket", "ListenSequentialPacket=@%i", "x"},
	{"socket", "Socket", "ListenNetlink=%i", "route !x"},
	{"socket", "Socket", "ListenNetlink=route %i", "1361 !x"},
	{"socket", "Socket", "SocketUser=%i", "root"},
	{"socket", "Socket", "Backlog=%i", "!1"},
	{"path", "Path", "PathExists=%I", "-srv-x !srv-x"},
	{"path", "Path", "PathChanged=%f", ""},
	{"path", "Path", "PathModified=/srv/%I", "a 1 !a-.."},
	{"path", "Path", "PathModified=/srv/..%i", "a"},
	{"path", "Path", "DirectoryNotEmpty=srv/%i", "!a"},
	{"service", "Unit", "After=%i", "a.service !a"},
	{"service", "Unit", "After=db@%i.service", "1 a"},
	{"service", "Unit", "After=db@%i.servce", "!1 !a"},
	{"service", "Unit", "After=db@%i", "a.socket !1"},
	{"service", "Unit", "After=%j", "!a.service"},
	{"service", "Unit", "RequiresMountsFor=%I", "-srv-x !srv-x"},
	{"service", "Unit", "ConditionPathExists=!%I", "-srv-x !srv-x"},
	{"service", "Unit", "AllowIsolate=%i", "!yes"},
	{"service", "Service", "Slice=%i", "a.slice !a !a.service"},
	{"service", "Service", "Slice=app-%i.slice", "a"},
	{"service", "Service", "BusName=%i", "org.example.X !x"},
	{"service", "Service", "BusName=org.example.%i", "X"},
	{"service", "Service", "WorkingDirectory=-%I", "-srv-x !srv-x"},
	{"service", "Service", "WorkingDirectory=-%h", ""},
	{"service", "Service", "EnvironmentFile=-%I", "-srv-x !srv-x"},
	{"service", "Service", "EnvironmentFile=-etc/%i", "!a"},
	{"service", "Service", "Environment=%i=1", `A !1`},
	{"service", "Service", "Environment=%I", `A\x3d1 !A`},
	{"service", "Service", "StateDirectory=%I", "srv-x !-srv-x"},
	{"service", "Service", "StateDirectory=/%i", "!a"},
	{"service", "Service", "ReadWritePaths=-%I", "-srv-x !srv-x"},
	{"service", "Service", "BindPaths=%I", "-srv-x !srv-x"},
	{"service", "Service", "TTYPath=/dev/%I", "tty1 pts-0"},
	{"service", "Service", "TTYPath=%i", "!tty1"},
	{"service", "Service", "ExecStartPre=-%I", "-bin-true true"},
	{"service", "Service", "ExecStartPre=-/bin/%i", "true"},
	{"service", "Service", "StandardOutput=file:%I", "-srv-x !srv-x"},
	{"service", "Service", "StandardOutput=fd:%i", "x"},
	{"service", "Service", "ExecStartPre=-/bin/date +%z", "!1"},
	{"service", "Service", "ExecStartPre=-/bin/date +%%z 5%", "1"},
	{"service", "Service", "SyslogIdentifier=%i%x", "!1"},
	{"service", "Service", "LogExtraFields=A=%i", "1"},
	{"service", "Unit", "Description=%i 5% of", "1"},
	{"service", "Unit", "After=db@%I.service", "!1"},
	{"service", "Service", "TimeoutStopSec=%i", "!1 !5min"},
	{"service", "Service", "Nice=%i", "!1"},
	{"service", "Service", "LimitNOFILE=%i", "!1"},
	{"service", "Service", "MemoryMax=%i", "!1M"},
	{"service", "Service", "CPUQuota=%i%%", "!50"},
	{"service", "Service", "Restart=%i", "!always"},
	{"service", "Service", "KillSignal=%i", "!SIGTERM"},
	{"service", "Service", "UMask=%i", "!0022"},
	{"service", "Service", "IPAddressAllow=%i", "!10.0.0.1"},
	{"service", "Service", "SystemCallFilter=%i", "!read"},
}

// specifiedFile is a unit with one of these lines, whose number it returns.
func specifiedFile(typ, section, line string) (src string, number int) {
	head := map[string]string{
		"service": "[Service]\nExecStart=/bin/true\n",
		"socket":  "[Socket]\nListenStream=9999\n",
		"timer":   "[Timer]\nOnBootSec=5\n",
		"path":    "[Path]\nPathExists=/x\n",
	}[typ]
	return head + "[" + section + "]\n" + line + "\n", 4
}

// eachSpecified calls judge for all units of the table: with those that aren't
// taken, and with the template, for which ours alone matters.
func eachSpecified(judge func(name, src string, line int, taken bool)) {
	for _, s := range specified {
		src, number := specifiedFile(s.typ, s.section, s.line)
		any := s.instances == ""
		for instance := range strings.FieldsSeq(s.instances) {
			instance, refused := strings.CutPrefix(instance, "!")
			any = any || !refused
			judge("x@"+instance+"."+s.typ, src, number, !refused)
		}
		judge("x@."+s.typ, src, number, any)
	}
}

func TestSpecifiersAreExpandedBeforeAValueIsJudged(t *testing.T) {
	eachSpecified(func(name, src string, line int, taken bool) {
		f, err := Parse(name, []byte(src))
		if err != nil {
			t.Fatal(err)
		}
		said := ""
		for _, p := range f.Check(Name(name), CheckOptions{Systemd: 252}) {
			if p.Line == line {
				said += fmt.Sprint(p)
			}
		}
		if taken != (said == "") {
			t.Errorf("%s: taken should be %v, and we say %q of\n%s", name, taken, said, src)
		}
	})
}

func TestSpecifiersAsSystemdSeesThem(t *testing.T) {
	eachSpecified(func(name, src string, line int, taken bool) {
		if Name(name).IsTemplate() {
			return
		}
		if said, lines := verify(t, name, src); lines[line] == taken {
			t.Errorf("%s: taken should be %v, and systemd says %q of\n%s", name, taken, said, src)
		}
	})
}
