package api

import (
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// Unit is one unit as the cluster knows it. A unit that only runs somewhere,
// unknown to the registry, has Known false.
type Unit struct {
	Name        unit.Name   `json:"name"`
	Known       bool        `json:"known"`
	Hash        unit.Hash   `json:"hash,omitempty"`
	Description string      `json:"description,omitempty"`
	Target      string      `json:"target,omitempty"` // inactive, loaded, launched, gone
	Generation  uint64      `json:"generation,omitempty"`
	Global      bool        `json:"global,omitempty"`
	Template    bool        `json:"template,omitempty"`
	Broken      string      `json:"broken,omitempty"` // why its record or file doesn't parse
	Pending     *Pending    `json:"pending,omitempty"`
	States      []UnitState `json:"states,omitempty"` // one for each machine it is assigned to or seen on, sorted by machine
	Who         string      `json:"who,omitempty"`
	Why         string      `json:"why,omitempty"`
	Changed     time.Time   `json:"changed,omitzero"`
	Wish        *Wish       `json:"wish,omitempty"`
	// Revision is that of the unit's record in the registry; 0: there is none.
	Revision registry.Revision `json:"revision,omitempty"`
	// Stale is how old the answer is when the registry itself gave none.
	Stale time.Duration `json:"staleNanoseconds,omitempty"`
}

// UnitState is a unit on one machine: what it is to be there, and what is seen.
type UnitState struct {
	Machine    registry.MachineID `json:"machine"`
	Hostname   string             `json:"hostname,omitempty"`
	Address    string             `json:"address,omitempty"`
	MachineIs  string             `json:"machineIs,omitempty"`  // as Machine.State
	Assigned   string             `json:"assigned,omitempty"`   // loaded, launched, gone; empty: unclaimed
	Generation uint64             `json:"generation,omitempty"` // of the assignment
	Reported   bool               `json:"reported"`             // the machine has reported it; the rest is then set
	Load       string             `json:"load,omitempty"`
	Active     string             `json:"active,omitempty"`
	Sub        string             `json:"sub,omitempty"`
	Hash       unit.Hash          `json:"hash,omitempty"` // of the file loaded there
	MainPID    uint32             `json:"mainPID,omitempty"`
	Result     string             `json:"result,omitempty"`
	ExitStatus int32              `json:"exitStatus,omitempty"`
	Reason     string             `json:"reason,omitempty"`
	Done       uint64             `json:"done,omitempty"` // the generation the machine has carried out
	Unclaimed  bool               `json:"unclaimed,omitempty"`
	Since      time.Time          `json:"since,omitzero"`
}

// Pending says why a unit is not placed.
type Pending struct {
	Text       string    `json:"text"`
	Generation uint64    `json:"generation,omitempty"` // of the unit, when this was found
	Refusals   []Refusal `json:"refusals,omitempty"`
}

// Refusal is one rule that keeps a unit off some machines.
type Refusal struct {
	Rule     string               `json:"rule"`
	Detail   string               `json:"detail"`
	Machines []registry.MachineID `json:"machines"`         // at most 20
	Others   int                  `json:"others,omitempty"` // how many more there are
}

// Machine is one machine of the cluster.
type Machine struct {
	ID       registry.MachineID `json:"id"`
	Hostname string             `json:"hostname"`
	Address  string             `json:"address"`
	API      string             `json:"api,omitempty"`
	Gate     string             `json:"gate,omitempty"`
	State    string             `json:"state"` // alive, suspect, away, silent, dead
	Why      string             `json:"why,omitempty"`
	Member   bool               `json:"member"`
	Leader   bool               `json:"leader"` // leads the engine
	Metadata map[string]string  `json:"metadata,omitempty"`
	Facts    map[string]string  `json:"facts,omitempty"`
	Memory   uint64             `json:"memoryBytes,omitempty"`
	CPUs     uint32             `json:"cpus,omitempty"`
	Software string             `json:"software,omitempty"`
	Units    int                `json:"units"`
	Cordon   bool               `json:"cordon,omitempty"`
	Drain    bool               `json:"drain,omitempty"`
	// Where the Metadata comes from: what the machine says of itself, and what
	// operators said over it.
	Own   map[string]string `json:"own,omitempty"`
	Set   map[string]string `json:"set,omitempty"`
	Unset []string          `json:"unset,omitempty"`
}

// Apply asks for changes of units, all or none of which are begun. Files holds
// the bytes of unit files the changes name by hash.
type Apply struct {
	Files   map[unit.Hash][]byte `json:"files,omitempty"`
	Changes []Change             `json:"changes"`
	Why     string               `json:"why,omitempty"`
	// AllowUnknown makes notes of sections and keys that systemd would ignore;
	// they are refused otherwise.
	AllowUnknown bool `json:"allowUnknown,omitempty"`
}

// Change is what shall become of one unit.
type Change struct {
	Name unit.Name `json:"name"`
	// File is the unit's new file; empty leaves it. An instance without a file
	// of its own takes its template's.
	File unit.Hash `json:"file,omitempty"`
	// Target is inactive, loaded, launched or gone; empty leaves it, or makes a
	// new unit inactive.
	Target string `json:"target,omitempty"`
	// Replace allows a File other than the unit's present one.
	Replace bool `json:"replace,omitempty"`
	// Restart restarts the unit though nothing else changes.
	Restart bool `json:"restart,omitempty"`
	// Existing refuses, as unknown, a unit that is not in the registry yet,
	// though its template may be.
	Existing bool `json:"existing,omitempty"`
}

// Applied is the units after the changes, in the changes' order, each with
// the generation that a client waits for.
type Applied struct {
	Units    []Unit            `json:"units"`
	Revision registry.Revision `json:"revision"`
	Notes    []string          `json:"notes,omitempty"` // things worth knowing, e.g. an inert [Install]
}

// VerifyRequest asks a machine's systemd what it thinks of unit files, which
// go no further. Their names differ.
type VerifyRequest struct {
	Files []VerifyFile `json:"files"`
	// Machine is which one to ask: as an operator may write it; empty is one
	// that the unit may come to. A machine asked for itself needs none.
	Machine registry.MachineID `json:"machine,omitempty"`
	// AllowUnknown makes warnings of sections and keys that systemd doesn't know.
	AllowUnknown bool `json:"allowUnknown,omitempty"`
	// Alone leaves the machine's own units out of it, which is faster: whether
	// what a file depends on is there is not looked at.
	Alone bool `json:"alone,omitempty"`
}

// VerifyFile is one file of a VerifyRequest.
type VerifyFile struct {
	Name unit.Name `json:"name"`
	File []byte    `json:"file"`
}

// Units is a list, with the age of the copy it was answered from when the
// registry itself did not answer, and what operators should know of the registry.
type Units struct {
	Units  []Unit        `json:"units"`
	Stale  time.Duration `json:"staleNanoseconds,omitempty"`
	Notice string        `json:"notice,omitempty"`
}

// Machines is a list, as Units is.
type Machines struct {
	Machines []Machine     `json:"machines"`
	Stale    time.Duration `json:"staleNanoseconds,omitempty"`
	Notice   string        `json:"notice,omitempty"`
}

// Error is the body of every answer that is not 2xx.
type Error struct {
	Error ErrorBody `json:"error"`
}

// ErrorBody has a Code of STYLE's exit codes: what clusterctl exits with.
type ErrorBody struct {
	Status  int    `json:"code"` // the HTTP status again
	Exit    int    `json:"exit"`
	Message string `json:"message"`
}

// JournalOptions are those of journalctl(1) that the API passes on.
type JournalOptions struct {
	Lines  int // -1 all
	Follow bool
	Output string // short, cat, json, ...
	Since  string
}

// Version is what a clusterd says of itself.
type Version struct {
	Version string             `json:"version"`
	Cluster string             `json:"cluster"`
	Machine registry.MachineID `json:"machine"`
	Control bool               `json:"control"`
}
