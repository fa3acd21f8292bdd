package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/clusterd/clusterd/agent/runtime"
)

// mounts reads --volume, --tmpfs, --mount and --device.
func (o *runOptions) mounts(dir *runtime.Dir) error {
	s := &o.spec
	for _, arg := range o.volumes {
		v, err := parseVolume(arg)
		if err != nil {
			return usageError{fmt.Errorf("--volume=%s: %w", arg, err)}
		}
		s.Volumes = append(s.Volumes, v)
	}
	for _, arg := range o.tmpfs {
		target, options, _ := strings.Cut(arg, ":")
		s.Tmpfs = append(s.Tmpfs, runtime.Tmpfs{Target: target, Options: options})
	}
	for _, arg := range o.mountings {
		if err := o.mount(arg); err != nil {
			return usageError{fmt.Errorf("--mount=%s: %w", arg, err)}
		}
	}
	if err := o.shared(dir); err != nil {
		return err
	}
	o.imageVolumes()
	for i, v := range s.Volumes {
		if v.Source != "" {
			continue
		}
		if v.Name == "" {
			v.Name, v.Made = runtime.NewID(), true
		}
		v.Source = dir.VolumeDir(v.Name)
		if !o.explain && !v.Made {
			if _, err := dir.Volume(v.Name); err != nil {
				return err
			}
		}
		s.Volumes[i] = v
	}
	if err := runtime.PrepareVolumes(s.Volumes, !o.explain); err != nil {
		return err
	}
	for _, arg := range o.devices {
		d, err := parseDevice(arg)
		if err != nil {
			return usageError{fmt.Errorf("--device=%s: %w", arg, err)}
		}
		s.Devices = append(s.Devices, d)
	}
	var err error
	s.Devices, err = runtime.PrepareDevices(s.Devices, s.HostIDs || s.Network == runtime.NetworkHost)
	return err
}

// parseVolume reads FROM:TO[:OPTIONS]. FROM is a path or the name of a volume.
func parseVolume(arg string) (runtime.Volume, error) {
	part := strings.Split(arg, ":")
	var v runtime.Volume
	switch {
	case len(part) == 1 && arg != "": // one without a name
		v.Target, v.Fill = arg, true
		return v, nil
	case len(part) > 3 || part[0] == "" || part[1] == "":
		return v, errors.New("write FROM:TO or FROM:TO:ro")
	}
	v.Source, v.Target = part[0], part[1]
	switch {
	case strings.HasPrefix(v.Source, "."):
		abs, err := filepath.Abs(v.Source)
		if err != nil {
			return v, err
		}
		v.Source = abs
	case !filepath.IsAbs(v.Source) && !runtime.ValidName(v.Source):
		return v, fmt.Errorf("%s is neither a path that begins with a slash nor the name of a volume", v.Source)
	case !filepath.IsAbs(v.Source):
		v.Name, v.Source, v.Fill = v.Source, "", true
	}
	if len(part) == 3 {
		for _, option := range strings.Split(part[2], ",") {
			switch option {
			case "ro":
				v.ReadOnly = true
			case "noexec":
				v.NoExec = true
			case "nocopy":
				v.Fill = false
			// So it is anyway. The labels of z and Z are SELinux's, which is not used here.
			case "rw", "z", "Z", "exec", "rbind", "nodev", "nosuid", "copy", "idmap", "cached", "delegated", "consistent":
			default:
				if err := propagation(&v, option); err != nil {
					return v, err
				}
			}
		}
	}
	return v, nil
}

// propagation reads what is to become of later mounts.
func propagation(v *runtime.Volume, option string) error {
	switch option {
	case "private", "rprivate":
		v.Slave = false
	case "slave", "rslave":
		v.Slave = true
	case "shared", "rshared":
		return fmt.Errorf("option %s: a container mounts nothing on the machine; write rslave, if it is to see what the machine mounts", option)
	case "U":
		return errors.New("option U: a volume's ids are mapped, root's files on the machine are root's in the container; chown it to the number of the user inside, once")
	case "O":
		return errors.New("option O: no layer is put over volumes; copy the directory, or bind it read-only: ro")
	default:
		return fmt.Errorf("option %s: there are ro, rw, noexec, nocopy and rslave", option)
	}
	return nil
}

// imageVolumes adds what the image wants to have outside the container's layer,
// where no flag puts something. Without root nobody could fill them from the image,
// whose content they would hide.
func (o *runOptions) imageVolumes() {
	if len(o.volumesOfImage) == 0 || !runtime.Root() {
		return
	}
	var targets []string
	for target := range o.volumesOfImage {
		targets = append(targets, target)
	}
	slices.Sort(targets)
	for _, target := range targets {
		if !o.covers(target) {
			o.spec.Volumes = append(o.spec.Volumes, runtime.Volume{Target: target, OfImage: true, Fill: true})
		}
	}
}

// mount reads docker's long way to write a volume or a tmpfs. What it binds must
// be there, unlike what --volume does.
func (o *runOptions) mount(arg string) error {
	if strings.Contains(arg, `"`) {
		return errors.New("quotes are not read; a path with a comma in it can be bound with --volume")
	}
	kind := "volume" // docker's default
	v := runtime.Volume{Exists: true}
	var tmpfs []string
	nocopy := false
	for _, option := range strings.Split(arg, ",") {
		key, value, given := strings.Cut(option, "=")
		on := func(of string) bool { return key == of && (!given || value == "true" || value == "1") }
		off := func(of string) bool { return key == of && (value == "false" || value == "0") }
		switch {
		case key == "type" && given:
			kind = value
		case (key == "source" || key == "src") && given:
			v.Source = value
		case (key == "target" || key == "destination" || key == "dst") && given:
			v.Target = value
		case on("readonly"), on("ro"), off("rw"):
			v.ReadOnly = true
		case off("readonly"), off("ro"), on("rw"):
			v.ReadOnly = false
		case on("noexec"), off("exec"):
			v.NoExec = true
		case (key == "tmpfs-size" || key == "size") && given:
			n, err := parseSize(value)
			if err != nil {
				return err
			}
			tmpfs = append(tmpfs, "size="+strconv.FormatUint(n, 10))
		case (key == "tmpfs-mode" || key == "mode") && given:
			tmpfs = append(tmpfs, "mode="+value)
		case on("exec"):
			v.NoExec = false
			tmpfs = append(tmpfs, key)
		case on("volume-nocopy"):
			nocopy = true
		case off("volume-nocopy"), on("nosuid"), on("nodev"), key == "consistency", key == "relabel", off("bind-nonrecursive"):
		case key == "bind-propagation" || key == "volume-opt" || key == "volume-driver":
			if key != "bind-propagation" {
				return fmt.Errorf("option %s: volumes are directories of this machine; mount what it should be, by a .mount unit, and bind that", option)
			}
			if err := propagation(&v, value); err != nil {
				return err
			}
		default:
			return fmt.Errorf("option %s: there are type, source, target, readonly, noexec and, for a tmpfs, tmpfs-size and tmpfs-mode", option)
		}
	}
	v.Fill = !nocopy
	return o.addMount(kind, v, tmpfs)
}

// addMount adds what a --mount says: a volume or bind, or a tmpfs with options.
func (o *runOptions) addMount(kind string, v runtime.Volume, tmpfs []string) error {
	switch {
	case v.Target == "":
		return errors.New("it says not where in the container; write target=/DIR")
	case kind == "tmpfs" && v.Source != "":
		return errors.New("a tmpfs comes from nowhere; take source= out")
	case kind == "tmpfs":
		if v.ReadOnly {
			tmpfs = append(tmpfs, "ro")
		}
		o.spec.Tmpfs = append(o.spec.Tmpfs, runtime.Tmpfs{Target: v.Target, Options: strings.Join(tmpfs, ",")})
		return nil
	case kind != "bind" && kind != "volume":
		return fmt.Errorf("type %s: there are bind, volume and tmpfs", kind)
	case len(tmpfs) > 0 && tmpfs[0] != "exec":
		return fmt.Errorf("%s goes with type=tmpfs only; take it out", tmpfs[0])
	case kind == "bind" && !filepath.IsAbs(v.Source):
		return errors.New("a bind comes from a path that begins with a slash; write source=/PATH")
	case kind == "volume" && v.Source != "" && !runtime.ValidName(v.Source):
		return fmt.Errorf("source=%s: is no name of a volume; to bind a path write type=bind", v.Source)
	case kind == "volume":
		v.Name, v.Source = v.Source, ""
	}
	v.Exists = kind == "bind"
	v.Fill = v.Fill && !v.Exists
	o.spec.Volumes = append(o.spec.Volumes, v)
	return nil
}

// parseDevice reads FROM[:TO[:rwm]], with podman's - in front of a device that
// needn't be there.
func parseDevice(arg string) (runtime.Device, error) {
	rest, optional := strings.CutPrefix(arg, "-")
	part := strings.Split(rest, ":")
	d := runtime.Device{Source: part[0], Target: part[0], Optional: optional}
	access := ""
	switch {
	case len(part) == 2 && part[1] != "" && part[1][0] != '/':
		access = part[1]
	case len(part) == 2:
		d.Target = part[1]
	case len(part) == 3:
		d.Target, access = part[1], part[2]
	}
	switch {
	case len(part) > 3 || !strings.HasPrefix(d.Source, "/dev/") || d.Target == "":
		return d, errors.New("write the path of a device, as in /dev/net/tun, or FROM:TO")
	case access != "" && access != "rw" && access != "rwm":
		return d, fmt.Errorf("access %s: it is rw always; to allow less put DeviceAllow=%s %s into the unit", access, d.Source, access)
	}
	return d, nil
}

// parseSize reads docker's way to write a size: 64m, 1g.
func parseSize(s string) (uint64, error) {
	text := strings.TrimSuffix(strings.ToLower(s), "b")
	shift := 0
	if n := len(text); n > 0 {
		if at := strings.IndexByte("kmgt", text[n-1]); at >= 0 {
			text, shift = text[:n-1], 10*(at+1)
		}
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 || n<<shift>>shift != n {
		return 0, fmt.Errorf("%q is no size; write such as 64m or 1g", s)
	}
	return n << shift, nil
}
