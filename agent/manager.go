package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// Manager is what the agent needs of a service manager and its unit files.
type Manager interface {
	// Observe tells how the named units are, and from then on Watch tells of
	// them. The result has an entry for each.
	Observe(ctx context.Context, units []unit.Name) (map[unit.Name]State, error)
	// Do carries out one step and returns once it is done. Several may be under
	// way at once, one for each unit. A *Failure in the error's chain is the
	// unit's own: to try again would not help. An *Unfit is Verify's.
	Do(ctx context.Context, step Action) error
	// Watch calls changed for each unit whose Status may have changed, until ctx
	// ends. It makes up for what was missed while the manager did not answer.
	Watch(ctx context.Context, changed func(unit.Name, Status)) error
}

// Failure says that the service manager did what it was asked and the unit
// failed.
type Failure struct {
	Unit unit.Name
	Why  string // in words, such as "exit-code 3"
}

func (f *Failure) Error() string { return fmt.Sprintf("%s failed: %s", f.Unit, f.Why) }

// Unfit says that this machine's systemd would refuse or ignore something in a
// unit's file.
type Unfit struct {
	Why string // such as "runs systemd 249: web.service:12: Unknown key ..."
}

func (u *Unfit) Error() string { return registry.RefusalReason(registry.RuleUnfit, u.Why) }

// State is how a unit is on this machine.
type State struct {
	Status
	// File and DropIn are what lies in the cluster's unit directory under the
	// unit's name, nil when nothing does.
	File, DropIn []byte
	// Taken is the path of another file by which the machine has this name.
	Taken string
}

// Status is how the service manager has a unit, in systemd's own words. All is
// empty while it does not have it in memory.
type Status struct {
	Load, Active, Sub string
	MainPID           uint32
	MainStart         time.Time
	Result            string
	ExitStatus        int32
	Since             time.Time // of the last change of Active
}

// Loaded says whether the service manager has the unit in memory.
func (s Status) Loaded() bool { return s.Active != "" }
