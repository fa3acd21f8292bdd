package registry

import (
	"strings"

	"github.com/clusterd/clusterd/unit"
)

// MachineID is a machine's identity: the 32 hexadecimal digits of machine-id(5).
type MachineID string

// Short is the abbreviation lists show, as fleet's did.
func (m MachineID) Short() string {
	if len(m) <= 8 {
		return string(m)
	}
	return string(m[:8]) + "..."
}

// The keys that exist once, and the prefixes of those that exist many times.
// registry/etcd puts the cluster's own prefix before them.
const (
	ClusterKey        = "cluster/id"
	LeaderKey         = "leader"
	ClusterPrefix     = "cluster/"
	MembersPrefix     = "cluster/members/"
	FilesPrefix       = "files/"
	UnitsPrefix       = "units/"
	MachinesPrefix    = "machines/"
	AlivePrefix       = "alive/"
	SettingsPrefix    = "settings/"
	AssignmentsPrefix = "assignments/"
	ObservedPrefix    = "observed/"
	PendingPrefix     = "pending/"
	TokensPrefix      = "tokens/"
)

func MemberKey(m MachineID) string   { return MembersPrefix + string(m) }
func FileKey(h unit.Hash) string     { return FilesPrefix + string(h) }
func UnitKey(u unit.Name) string     { return UnitsPrefix + string(u) }
func MachineKey(m MachineID) string  { return MachinesPrefix + string(m) }
func AliveKey(m MachineID) string    { return AlivePrefix + string(m) }
func SettingsKey(m MachineID) string { return SettingsPrefix + string(m) + "/operator" }
func AwayKey(m MachineID) string     { return SettingsPrefix + string(m) + "/away" }
func RemovedKey(m MachineID) string  { return SettingsPrefix + string(m) + "/removed" }
func PendingKey(u unit.Name) string  { return PendingPrefix + string(u) }
func TokenKey(sha256hex string) string {
	return TokensPrefix + sha256hex
}
func AssignmentsOf(m MachineID) string { return AssignmentsPrefix + string(m) + "/" }
func AssignmentKey(m MachineID, u unit.Name) string {
	return AssignmentsOf(m) + string(u)
}
func ObservedOf(m MachineID) string { return ObservedPrefix + string(m) + "/" }
func ObservedKey(m MachineID, u unit.Name) string {
	return ObservedOf(m) + string(u)
}

// CutMachineUnit takes the part of an assignment's or observation's key after
// its prefix ("<machine>/<unit>") apart.
func CutMachineUnit(rest string) (MachineID, unit.Name, bool) {
	m, u, ok := strings.Cut(rest, "/")
	return MachineID(m), unit.Name(u), ok && m != "" && u != ""
}

// Prefix is the range of all keys that begin with p, which must not be empty.
func Prefix(p string) Range {
	end := []byte(p)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return Range{From: p, To: string(end[:i+1])}
		}
	}
	panic("registry: no range of prefix " + p)
}

// Single is the range of one key.
func Single(key string) Range { return Range{From: key} }

// Everything is the range of all keys.
func Everything() Range { return Range{From: "\x00", To: "\xff"} }

// Contains says whether key lies in r.
func (r Range) Contains(key string) bool {
	if r.To == "" {
		return key == r.From
	}
	return r.From <= key && key < r.To
}
