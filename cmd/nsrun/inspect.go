package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/runtime"
)

type inspectOptions struct{ format, kind string }

func inspectFlags(o *inspectOptions) []flag {
	return []flag{
		{long: "format", short: 'f', text: text(&o.format), arg: "TEMPLATE", about: "such as {{.State.Pid}} or {{json .Mounts}} (default: everything as JSON)"},
		{long: "type", text: text(&o.kind), arg: "container|image|volume", about: "what the names are of (default: a container, else an image)"},
		{long: "size", short: 's', why: "sizes are not counted; see du"},
	}
}

func (a *app) inspect(args []string) error {
	o := &inspectOptions{}
	names, err := parse(inspectFlags(o), args, true)
	if err != nil {
		return err
	}
	switch o.kind {
	case "", "container", "image":
	case "volume":
		if o.format != "" {
			names = append([]string{"--format", o.format}, names...)
		}
		return a.inspectVolumes(names)
	default:
		return usageError{fmt.Errorf("--type=%s: there are container, image and volume", o.kind)}
	}
	if len(names) == 0 {
		return errors.New("of what? write a name")
	}
	var found []any
	var errs []error
	for _, name := range names {
		v, err := a.look(strings.TrimPrefix(name, "/"), o.kind)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		found = append(found, v)
	}
	return errors.Join(append(errs, a.show(o.format, found))...)
}

// look describes what has a name.
func (a *app) look(name, kind string) (any, error) {
	if kind != "image" {
		c, err := a.dir.Get(name)
		if err == nil {
			return describeContainer(c), nil
		}
		if kind == "container" || !errors.Is(err, runtime.ErrUnknown) {
			return nil, err
		}
	}
	program, err := imageProgram()
	if err != nil {
		return nil, err
	}
	var out, said bytes.Buffer
	ask := exec.Command(program, "--root", a.dir.Images(), "inspect", name)
	ask.Stdout, ask.Stderr = &out, &said
	var list []any
	if err := ask.Run(); err == nil {
		dec := json.NewDecoder(&out)
		dec.UseNumber()
		err = dec.Decode(&list)
		if err == nil && len(list) == 1 {
			return list[0], nil
		}
	}
	if kind == "image" {
		return nil, fmt.Errorf("%s: %s", name, strings.TrimPrefix(strings.TrimSpace(said.String()), "nsrun-image: "))
	}
	return nil, fmt.Errorf("%s: no such container or image", name)
}

// object is JSON in the order it is written in here.
type object []field

type field struct {
	name  string
	value any
}

func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(f.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(f.value)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// moment writes a time as docker does; none is the year 1.
func moment(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// describeContainer tells of a container in docker's shape, as far as it is known.
func describeContainer(c *runtime.Container) object {
	started := c.Created // it takes milliseconds
	if c.Live != nil && c.Live.Setting {
		started = time.Time{}
	}
	path, args := "", []string{}
	if len(c.Command) > 0 {
		path, args = c.Command[0], c.Command[1:]
	}
	pid := 0
	if c.Running() {
		pid = c.Live.PID
	}
	return object{
		{"Id", c.ID},
		{"Created", moment(c.Created)},
		{"Path", path},
		{"Args", args},
		{"State", object{
			{"Status", state(c)},
			{"Running", c.Running()},
			{"Paused", false},
			{"Restarting", false},
			{"OOMKilled", outOfMemory(c)},
			{"Dead", false},
			{"Pid", pid},
			{"ExitCode", c.Code},
			{"Error", ""},
			{"StartedAt", moment(started)},
			{"FinishedAt", moment(c.Ended)},
		}},
		{"Image", c.Digest},
		{"Name", "/" + c.Name},
		{"Driver", "overlay2"},
		{"Platform", "linux"},
		{"HostConfig", hostConfig(c)},
		{"Mounts", mountsOf(c)},
		{"Config", configOf(c)},
		{"NetworkSettings", networkSettings(c)},
		{"Unit", c.Unit}, // not docker's: who looks after it
		{"Invocation", c.Invocation},
		{"RootFS", c.RootFS},
	}
}

func hostConfig(c *runtime.Container) object {
	binds := []string{}
	for _, v := range c.Volumes {
		from := v.Source
		if v.Name != "" {
			from = v.Name
		}
		mode := "rw"
		if v.ReadOnly {
			mode = "ro"
		}
		binds = append(binds, from+":"+v.Target+":"+mode)
	}
	tmpfs := map[string]string{}
	for _, t := range c.Details.Tmpfs {
		tmpfs[t.Target] = t.Options
	}
	userns := ""
	if c.Details.HostIDs {
		userns = "host"
	}
	return object{
		{"Binds", binds},
		{"LogConfig", object{{"Type", "journald"}, {"Config", object{}}}},
		{"NetworkMode", c.Network},
		{"RestartPolicy", object{{"Name", "no"}, {"MaximumRetryCount", 0}}},
		{"AutoRemove", c.Remove},
		{"CapAdd", c.Details.CapAdd},
		{"CapDrop", c.Details.CapDrop},
		{"Privileged", false},
		{"ReadonlyRootfs", c.Details.ReadOnly},
		{"Tmpfs", tmpfs},
		{"UsernsMode", userns},
		{"Init", c.Details.Init},
	}
}

func mountsOf(c *runtime.Container) []object {
	list := []object{}
	for _, v := range c.Volumes {
		m := object{{"Type", "bind"}}
		if v.Name != "" {
			m = object{{"Type", "volume"}, {"Name", v.Name}, {"Driver", "local"}}
		}
		propagation := "rprivate"
		if v.Slave {
			propagation = "rslave"
		}
		mode := ""
		if v.ReadOnly {
			mode = "ro"
		}
		list = append(list, append(m, object{
			{"Source", v.Source}, {"Destination", v.Target}, {"Mode", mode}, {"RW", !v.ReadOnly}, {"Propagation", propagation},
		}...))
	}
	return list
}

func configOf(c *runtime.Container) object {
	labels := map[string]string{}
	for _, l := range c.Labels {
		name, value, _ := strings.Cut(l, "=")
		labels[name] = value
	}
	return object{
		{"Hostname", c.Details.Hostname},
		{"Domainname", ""},
		{"User", c.Details.User},
		{"Env", c.Details.Env},
		{"Cmd", c.Command},
		{"Image", c.Image},
		{"WorkingDir", c.Details.WorkDir},
		{"Entrypoint", nil},
		{"Labels", labels},
		{"StopSignal", orTerm(c.StopSignal)},
		{"StopTimeout", int(c.StopTimeout / time.Second)},
	}
}

func orTerm(signal string) string {
	if signal == "" {
		return "SIGTERM"
	}
	return signal
}

// outOfMemory says whether the kernel ended a container for want of memory: the
// unit knows.
func outOfMemory(c *runtime.Container) bool {
	if c.Live != nil || c.Unit == "" || c.Code != runtime.ExitSignal+int(unix.SIGKILL) {
		return false
	}
	out, err := exec.Command("systemctl", "show", "--property=Result,InvocationID", c.Unit).Output()
	lines := strings.Split(string(out), "\n")
	return err == nil && slices.Contains(lines, "Result=oom-kill") && slices.Contains(lines, "InvocationID="+c.Invocation)
}

// sorted returns a map's keys in their order.
func sorted(m map[string]any) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
