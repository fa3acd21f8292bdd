package container

import (
	"maps"
	"strings"

	"github.com/clusterd/clusterd/unit"
)

// key is a setting of [Container]. It either does something or says why it
// can't be had, and what there is instead.
type key struct {
	do  func(r *renderer, name string, values []unit.Value)
	why string
}

// keys are those of podman's Quadlet. See podman-systemd.unit(5).
func keys() map[string]key {
	all := map[string]key{
		// Who it is.
		"ContainerName": {do: (*renderer).containerName},
		"HostName":      {do: (*renderer).hostName},
		"Image":         {do: (*renderer).image},
		"Rootfs":        {do: (*renderer).rootfs},
		"Pull":          {do: (*renderer).pull},
		"Retry":         {do: (*renderer).retry},
		"RetryDelay":    {do: (*renderer).retry},
		"AutoUpdate":    {do: (*renderer).autoUpdate},
		"Label":         {do: (*renderer).label},
		"Annotation":    {do: (*renderer).annotation},
		// What it runs.
		"Exec":        {do: func(*renderer, string, []unit.Value) {}}, // goes with the image
		"Entrypoint":  {do: (*renderer).entrypoint},
		"WorkingDir":  {do: (*renderer).workingDir},
		"StopSignal":  {do: (*renderer).stopSignal},
		"StopTimeout": {do: (*renderer).stopTimeout},
		// Its environment.
		"Environment":     {do: (*renderer).environment},
		"EnvironmentFile": {do: (*renderer).environmentFile},
		"EnvironmentHost": {do: (*renderer).environmentHost},
		"HttpProxy":       {do: (*renderer).httpProxy},
		"Timezone":        {do: (*renderer).timezone},
		// Its file systems.
		"Volume":        {do: (*renderer).volume},
		"Mount":         {do: (*renderer).mount},
		"Tmpfs":         {do: (*renderer).tmpfs},
		"ShmSize":       {do: (*renderer).shmSize},
		"AddDevice":     {do: (*renderer).device},
		"VolatileTmp":   {do: (*renderer).volatileTmp},
		"ReadOnly":      {do: (*renderer).readOnly},
		"ReadOnlyTmpfs": {do: func(r *renderer, name string, values []unit.Value) { r.boolean(name, values) }}, // goes with ReadOnly=
		// Its network.
		"Network":        {do: (*renderer).network},
		"PublishPort":    {do: func(*renderer, string, []unit.Value) {}}, // goes with Network=
		"ExposeHostPort": {do: (*renderer).expose},
		"IP":             {do: (*renderer).address},
		"NetworkAlias":   oneWord("network-alias"),
		"AddHost":        {do: (*renderer).addHost},
		"DNS":            {do: (*renderer).dns},
		"DNSSearch":      oneWord("dns-search"),
		"DNSOption":      oneWord("dns-option"),
		"Sysctl":         {do: func(*renderer, string, []unit.Value) {}}, // goes with Network=
		// What it may.
		"AddCapability":        capabilities("cap-add"),
		"DropCapability":       capabilities("cap-drop"),
		"NoNewPrivileges":      {do: (*renderer).noNewPrivileges},
		"SeccompProfile":       {do: (*renderer).seccompProfile},
		"Mask":                 {do: (*renderer).mask},
		"Unmask":               {do: (*renderer).unmask},
		"SecurityLabelDisable": only("yes", "SELinux labels are not used; leave it out"),
		"User":                 {do: (*renderer).user},
		"Group":                {do: (*renderer).group},
		"GroupAdd":             {do: (*renderer).groupAdd},
		"AppArmor":             {do: (*renderer).appArmor},
		"UserNS":               oneOf("userns", "leave it out for a range of its own, or use host", "auto", "private", "host"),
	}
	maps.Copy(all, serviceKeys())
	for name, why := range refused() {
		all[name] = key{why: why}
	}
	return all
}

// serviceKeys are those that systemd takes care of, or that say how.
func serviceKeys() map[string]key {
	return map[string]key{
		// Its limits: its cgroup is the unit's own, so systemd sets them.
		"Memory":    {do: (*renderer).memory},
		"PidsLimit": {do: (*renderer).pidsLimit},
		"Ulimit":    {do: (*renderer).ulimit},
		// How systemd has it.
		"Notify":       {do: (*renderer).notify},
		"HealthCmd":    only("none", noHealth),
		"PodmanArgs":   {do: (*renderer).podmanArgs},
		"RunInit":      {do: (*renderer).runInit},
		"LogDriver":    {do: (*renderer).logDriver},
		"LogOpt":       {do: (*renderer).logOpt},
		"CgroupsMode":  only("split", "the container is always in the unit's own cgroup; leave it out", "enabled", "no-conmon"),
		"ReloadSignal": {do: (*renderer).reloadSignal},
		"ReloadCmd":    {do: (*renderer).reloadCmd},
	}
}

const noHealth = "leave it out; to have a unit restarted that hangs let its program tell systemd that it is well: Notify=yes, and WatchdogSec= in [Service]"

// refused are the keys that do nothing here yet, or never will, each with what
// there is instead.
func refused() map[string]string {
	const (
		ids   = "every container has a range of its own, 65536 ids; leave it out, or use UserNS=host"
		label = "SELinux labels are not used; leave it out"
	)
	all := map[string]string{
		"ContainersConfModule": "podman's own configuration is not read; leave it out",
		"GlobalArgs":           "nsrun is no podman; use keys of [Container]",
		"IP6":                  "containers on the bridge have IPv4 only; leave it out, or use Network=host",
		"Pod":                  "there are no pods; to keep units together use MachineOf= in [X-Cluster]",
		"Secret":               "bind a file of the machine: Volume=/path/to/secret:/run/secrets/name:ro",
		"ServiceName":          "the unit has the name it is submitted under; rename the file",
		"StartWithPod":         "there are no pods; leave it out",
	}
	group := func(why string, names string) {
		for _, n := range strings.Fields(names) {
			all[n] = why
		}
	}
	group(ids, "UIDMap GIDMap SubUIDMap SubGIDMap RemapUid RemapGid RemapUidSize RemapUsers")
	group(label, "SecurityLabelFileType SecurityLabelLevel SecurityLabelNested SecurityLabelType")
	group(noHealth, "HealthInterval HealthLogDestination HealthMaxLogCount HealthMaxLogSize HealthOnFailure HealthRetries HealthStartPeriod HealthStartupCmd HealthStartupInterval HealthStartupRetries HealthStartupSuccess HealthStartupTimeout HealthTimeout")
	return all
}

// Kinds of keys.

// oneOf is a key that takes some values; others may come with nsrun.
func oneOf(name, fix string, allowed ...string) key {
	return key{do: func(r *renderer, key string, values []unit.Value) {
		v := values[len(values)-1]
		if text := bare(v.Text); r.allowed(v, key, text, fix, allowed) {
			r.flag(v.Line, name, text)
		}
	}}
}

// only is a key whose value may say what is so anyway, in the words given;
// yes and no are read as systemd reads them.
func only(value, fix string, others ...string) key {
	return key{do: func(r *renderer, key string, values []unit.Value) {
		v := values[len(values)-1]
		text := bare(v.Text)
		if on, ok := parseBoolean(text); ok && (value == "yes" || value == "no") {
			text = map[bool]string{true: "yes", false: "no"}[on]
		}
		r.allowed(v, key, text, fix, append(others, value))
	}}
}
