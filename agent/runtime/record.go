package runtime

import (
	"strconv"
	"strings"
	"time"

	"github.com/clusterd/clusterd/agent/sheet"
)

// encode writes the record as a sheet.
func (r *Record) encode() []byte {
	var w sheet.Writer
	w.Text("name", r.Name)
	w.Text("id", r.ID)
	w.Text("image", r.Image)
	w.Text("digest", r.Digest)
	w.Put("layers", r.Layers...)
	w.Text("rootfs", r.RootFS)
	w.Put("command", r.Command...)
	w.Time("created", r.Created)
	w.Text("unit", r.Unit)
	w.Text("invocation", r.Invocation)
	w.Flag("remove", r.Remove)
	w.Text("stopsignal", r.StopSignal)
	w.Int("stoptimeout", int64(r.StopTimeout))
	w.Text("network", r.Network)
	w.Put("labels", r.Labels...)
	w.Put("expose", r.Expose...)
	for _, v := range r.Volumes {
		w.Put("volume", v.Source, v.Target, v.Name, words(map[string]bool{
			"readonly": v.ReadOnly, "noexec": v.NoExec, "slave": v.Slave, "made": v.Made, "ofimage": v.OfImage,
		}, "readonly", "noexec", "slave", "made", "ofimage"))
	}
	w.Text("seccomp", r.Seccomp)
	w.Flag("newprivileges", r.NewPrivileges)
	w.Text("apparmor", r.AppArmor)
	r.Details.encode(&w)
	w.Time("ended", r.Ended)
	w.Int("code", int64(r.Code))
	return w.Bytes()
}

func (d *Details) encode(w *sheet.Writer) {
	w.Put("env", d.Env...)
	w.Text("user", d.User)
	w.Text("workdir", d.WorkDir)
	w.Text("hostname", d.Hostname)
	w.Put("capadd", d.CapAdd...)
	w.Put("capdrop", d.CapDrop...)
	for _, t := range d.Tmpfs {
		w.Put("tmpfs", t.Target, t.Options)
	}
	w.Flag("readonly", d.ReadOnly)
	w.Flag("hostids", d.HostIDs)
	w.Flag("init", d.Init)
	w.Put("groups", d.Groups...)
	if d.Caps != 0 {
		w.Put("caps", strconv.FormatUint(d.Caps, 16))
	}
}

// decodeRecord reads what encode wrote. Lines of a later version are passed over.
func decodeRecord(data []byte) (r Record, err error) {
	err = sheet.Read(data, func(l sheet.Line) error {
		var err error
		switch l.Name {
		case "name":
			r.Name = l.Text()
		case "id":
			r.ID = l.Text()
		case "image":
			r.Image = l.Text()
		case "digest":
			r.Digest = l.Text()
		case "layers":
			r.Layers = l.Values
		case "rootfs":
			r.RootFS = l.Text()
		case "command":
			r.Command = l.Values
		case "created":
			r.Created, err = l.Time()
		case "unit":
			r.Unit = l.Text()
		case "invocation":
			r.Invocation = l.Text()
		case "remove":
			r.Remove = true
		case "stopsignal":
			r.StopSignal = l.Text()
		case "stoptimeout":
			var n int64
			n, err = l.Int()
			r.StopTimeout = time.Duration(n)
		case "network":
			r.Network = l.Text()
		case "labels":
			r.Labels = l.Values
		case "expose":
			r.Expose = l.Values
		case "volume":
			r.Volumes = append(r.Volumes, decodeVolume(l))
		case "seccomp":
			r.Seccomp = l.Text()
		case "newprivileges":
			r.NewPrivileges = true
		case "apparmor":
			r.AppArmor = l.Text()
		case "ended":
			r.Ended, err = l.Time()
		case "code":
			var n int64
			n, err = l.Int()
			r.Code = int(n)
		default:
			err = r.Details.decode(l)
		}
		return err
	})
	return r, err
}

func (d *Details) decode(l sheet.Line) (err error) {
	switch l.Name {
	case "env":
		d.Env = l.Values
	case "user":
		d.User = l.Text()
	case "workdir":
		d.WorkDir = l.Text()
	case "hostname":
		d.Hostname = l.Text()
	case "capadd":
		d.CapAdd = l.Values
	case "capdrop":
		d.CapDrop = l.Values
	case "tmpfs":
		d.Tmpfs = append(d.Tmpfs, Tmpfs{Target: l.Text(), Options: value(l, 1)})
	case "readonly":
		d.ReadOnly = true
	case "hostids":
		d.HostIDs = true
	case "init":
		d.Init = true
	case "groups":
		d.Groups = l.Values
	case "caps":
		d.Caps, err = strconv.ParseUint(l.Text(), 16, 64)
	}
	return err
}

func decodeVolume(l sheet.Line) Volume {
	v := Volume{Source: l.Text(), Target: value(l, 1), Name: value(l, 2)}
	for _, word := range strings.Fields(value(l, 3)) {
		switch word {
		case "readonly":
			v.ReadOnly = true
		case "noexec":
			v.NoExec = true
		case "slave":
			v.Slave = true
		case "made":
			v.Made = true
		case "ofimage":
			v.OfImage = true
		}
	}
	return v
}

// value is the i-th value of a line; one that an earlier version didn't write is
// empty.
func value(l sheet.Line, i int) string {
	if i < len(l.Values) {
		return l.Values[i]
	}
	return ""
}

// words lists those of names that are set.
func words(set map[string]bool, names ...string) string {
	var found []string
	for _, n := range names {
		if set[n] {
			found = append(found, n)
		}
	}
	return strings.Join(found, " ")
}
