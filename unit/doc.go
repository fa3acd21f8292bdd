// Package unit says what a systemd unit file says: its name, its sections and
// keys with their positions, what of it concerns placement, and what is wrong
// with it.
//
// A [File] keeps the bytes it was parsed from; nothing is ever re-serialised.
// [File.Options] reads the [X-Cluster] section, which tells the cluster where
// the unit may run, and [File.Resources], [File.Ports], [File.Dependencies] and
// [File.Install] what systemd's own sections say about that. [File.Check] finds
// what systemd would refuse, ignore or misread, by the table in keys.txt of what
// each version of systemd knows. The package does no I/O and reads no clock;
// systemd itself has the last word on everything outside [X-Cluster]. Syntax:
// systemd.syntax(7), systemd.unit(5).
//
// # The [X-Cluster] section
//
// Values are words, quoted as systemd quotes them; lines of the same key add up,
// and an empty one takes back those before it. The specifiers %n %N %p %P %i %I
// %j %J and %% are expanded. [X-Fleet] and fleet's older names of the keys mean
// the same; what is unknown there is a warning.
//
//	Global=yes                 one on every machine that fits
//	MachineID=m1               this machine only: host name, or the beginning of its id
//	MachineOf=db.service       where this unit is; patterns such as db@*.service will do
//	Conflicts=web@*.service    never where one of these is, both ways
//	Replaces=old.service       takes the machine of this one, which goes elsewhere
//	MachineMetadata=key=value  what the machine's metadata must be: see [ParseRequirements]
//	Prefer=disk=ssd            the same, if it can be had
//	Spread=rack                units of one template evenly over this metadata's values
//	Fencing=none               what is certain of a lost machine; none is the only kind yet
//	Priority=10                the larger goes first where there isn't room for all
//	Requests=cpu=0.5 memory=1G tasks=50   needs, where the unit's own limits don't say
//	MinAvailable=2             or 50%: how many instances of the template stay active in a drain
//
// # What systemd accepts and this package refuses
//
// systemd ignores what it doesn't understand, with a line in its journal that
// nobody reads. Here that is an error: lines without an equals sign, keys before
// any section, sections and keys that no systemd has (or not the target's),
// values that it can't read, empty ones among them where a setting isn't a list,
// and settings that do nothing in a unit of that type. Refused though systemd
// says nothing, or would act on it, are
//   - files without a section, which mask a unit, and of more than 1 MiB,
//   - texts that aren't UTF-8, names that begin with a dot, and those of more than
//     240 bytes, which leave no room for a drop-in's directory,
//   - [Install] sections that systemctl enable would refuse,
//   - conditions that can't be decided, and so always fail,
//   - capabilities and secure bits that don't exist, which it drops,
//   - scheduling classes and socket options that no kernel has, IPTTL=0 say,
//   - what loads and can't be started: TasksMax=0%, a variable as the program,
//     a slice with a name that slices can't have,
//   - swaps without What=, which systemd.swap(5) asks for,
//   - a backslash in Sockets=, which it takes off.
//
// Tests with the tag machine compare all this with a real systemd; functional
// runs them on a lab machine.
package unit
