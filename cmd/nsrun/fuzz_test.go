package main

import (
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/agent/runtime"
)

// FuzzRunArguments makes plans of whatever is said to run: none panics, and
// none has a mount of the user's over what a container's safety hangs on.
func FuzzRunArguments(f *testing.F) {
	for _, line := range []string{
		"--rootfs\x00/r\x00-it\x00-p\x0080:80\x00-v\x00/a:/b:ro\x00sh",
		"--rootfs=/r\x00--mount\x00type=tmpfs,dst=/x,tmpfs-size=1m\x00--tmpfs\x00/y:size=1m\x00-m\x0064m\x00--cpus=1.5\x00a",
		"--rootfs=/r\x00-v\x00/a:/proc/../proc/sys\x00--mount\x00type=bind,src=/x,dst=/sys/../dev\x00a",
		"--rootfs=/r\x00--ulimit\x00nofile=1:2\x00--sysctl\x00net.a=1\x00--add-host\x00a:1.2.3.4\x00--cap-add\x00all\x00--security-opt\x00seccomp=unconfined\x00-u\x001:2\x00a",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		o := &runOptions{}
		rest, err := parseRun(o, strings.Split(line, "\x00"))
		if err != nil {
			return
		}
		o.spec.ID = strings.Repeat("0123456789abcdef", 4)
		if err := o.check(); err != nil {
			return
		}
		for _, v := range o.volumes {
			if volume, err := parseVolume(v); err == nil {
				o.spec.Volumes = append(o.spec.Volumes, volume)
			}
		}
		for _, m := range o.mountings {
			_ = o.mount(m)
		}
		o.spec.Argv = rest
		if o.spec.Name == "" {
			o.spec.Name = "fuzz"
		}
		plan, err := runtime.Make(o.spec, runtime.Host{Root: true})
		if err != nil {
			return
		}
		if text := plan.String(); text == "" {
			t.Fatalf("%q: a plan without steps", line)
		}
		for _, v := range o.spec.Volumes {
			clean := path.Clean(v.Target)
			if !path.IsAbs(v.Target) || slices.Contains([]string{"/", "/dev", "/proc", "/sys"}, clean) || strings.HasPrefix(clean, "/proc/") || strings.HasPrefix(clean, "/sys/") {
				t.Fatalf("%q: a volume at %s", line, v.Target)
			}
		}
	})
}

// FuzzMountStrings reads docker's ways to name what is mounted: what is taken
// has somewhere to come from and somewhere to go.
func FuzzMountStrings(f *testing.F) {
	for _, s := range []string{"/a:/b:ro,z", "name:/b", "./a:/b:noexec", "type=bind,src=/a,dst=/b,ro", "type=tmpfs,dst=/b,size=1m", "source=a,target=/b", "-/dev/zero:/dev/x:rwm", "64m", "/dev/../etc/passwd"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := parseVolume(s); err == nil && !sound(v) {
			t.Errorf("--volume=%q is %+v", s, v)
		}
		o := &runOptions{}
		if err := o.mount(s); err == nil {
			for _, v := range o.spec.Volumes {
				if !sound(v) {
					t.Errorf("--mount=%q is %+v", s, v)
				}
			}
		}
		if d, err := parseDevice(s); err == nil && (!strings.HasPrefix(d.Source, "/dev/") || d.Target == "") {
			t.Errorf("--device=%q is %+v", s, d)
		}
		if n, err := parseSize(s); err == nil && n == 0 {
			t.Errorf("%q is a size of nothing", s)
		}
	})
}

// sound says whether a volume is a path, a name or new, and goes somewhere.
func sound(v runtime.Volume) bool {
	return v.Target != "" && (v.Source == "" || path.IsAbs(v.Source)) && (v.Name == "" || v.Source == "" && runtime.ValidName(v.Name))
}
