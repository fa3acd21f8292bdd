package seccomp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Profile is a profile in docker's format.
type Profile struct {
	DefaultAction string   `json:"defaultAction"`
	DefaultErrno  *uint32  `json:"defaultErrnoRet"`
	Architectures []string `json:"architectures"`
	ArchMap       []struct {
		Arch string   `json:"architecture"`
		Subs []string `json:"subArchitectures"`
	} `json:"archMap"`
	Flags    []string `json:"flags"`
	Syscalls []rule   `json:"syscalls"`

	ListenerPath     string `json:"listenerPath"`
	ListenerMetadata string `json:"listenerMetadata"`
}

// rule says what happens to some calls.
type rule struct {
	Name     string     `json:"name"`
	Names    []string   `json:"names"`
	Action   string     `json:"action"`
	Errno    *uint32    `json:"errnoRet"`
	Args     []arg      `json:"args"`
	Comment  string     `json:"comment"`
	Includes conditions `json:"includes"`
	Excludes conditions `json:"excludes"`
}

// arg compares one argument of a call.
type arg struct {
	Index    uint   `json:"index"`
	Value    uint64 `json:"value"`
	ValueTwo uint64 `json:"valueTwo"`
	Op       string `json:"op"`
}

// conditions say when a rule counts.
type conditions struct {
	Caps      []string `json:"caps"`
	Arches    []string `json:"arches"`
	MinKernel string   `json:"minKernel"`
}

// ActNotify needs a program that answers for each call, which we have not.
const actNotify = "SCMP_ACT_NOTIFY"

// Parse reads a profile. An error says where it stands: by its line where the
// text is no JSON, else by its rule.
func Parse(text []byte) (*Profile, error) {
	p := &Profile{}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(p); err != nil {
		return nil, located(text, dec.InputOffset(), err)
	}
	if dec.More() {
		return nil, located(text, dec.InputOffset(), errors.New("something follows the profile; take it out"))
	}
	if len(p.Architectures) > 0 && len(p.ArchMap) > 0 {
		return nil, errors.New("has both architectures and archMap; leave one of them out")
	}
	if _, err := action(p.DefaultAction, p.DefaultErrno); err != nil {
		return nil, fmt.Errorf("defaultAction: %w", err)
	}
	if _, err := p.flags(); err != nil {
		return nil, err
	}
	if p.ListenerPath != "" {
		return nil, errors.New("listenerPath: nobody here answers for calls; take it out")
	}
	for i := range p.Syscalls {
		if err := p.Syscalls[i].check(); err != nil {
			return nil, fmt.Errorf("rule %d of syscalls (%s): %w", i+1, p.Syscalls[i].title(), err)
		}
	}
	return p, nil
}

// located says at which line of text an error of package json's is.
func located(text []byte, offset int64, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &kind):
		offset = kind.Offset
		err = fmt.Errorf("%s: a %s can't stand there", kind.Field, kind.Value)
	}
	offset = min(max(offset, 0), int64(len(text)))
	return fmt.Errorf("line %d: %s", 1+bytes.Count(text[:offset], []byte("\n")), strings.TrimPrefix(err.Error(), "json: "))
}

// title is how messages call a rule.
func (r *rule) title() string {
	if len(r.Names) > 0 {
		return r.Names[0]
	}
	return "no name"
}

// check brings a rule into one form and refuses what has no meaning.
func (r *rule) check() error {
	if r.Name != "" {
		if len(r.Names) > 0 {
			return errors.New("has both name and names; leave one of them out")
		}
		r.Names = []string{r.Name}
	}
	if len(r.Names) == 0 {
		return errors.New("names no call")
	}
	if _, err := action(r.Action, r.Errno); err != nil {
		return err
	}
	for _, a := range r.Args {
		if a.Index > 5 {
			return fmt.Errorf("argument %d: a call has six, 0 to 5", a.Index)
		}
		if !slices.Contains(strings.Fields(operators), a.Op) {
			return fmt.Errorf("argument %d: op %q: there are %s", a.Index, a.Op, operators)
		}
	}
	for _, c := range []conditions{r.Includes, r.Excludes} {
		if c.MinKernel != "" {
			if _, err := version(c.MinKernel); err != nil {
				return err
			}
		}
	}
	return nil
}

const operators = "SCMP_CMP_NE SCMP_CMP_LT SCMP_CMP_LE SCMP_CMP_EQ SCMP_CMP_GE SCMP_CMP_GT SCMP_CMP_MASKED_EQ"

// action turns an action into what a filter returns.
func action(name string, errno *uint32) (uint32, error) {
	number := uint32(unix.EPERM)
	if errno != nil {
		number = *errno
	}
	switch {
	case errno != nil && name != "SCMP_ACT_ERRNO" && name != "SCMP_ACT_TRACE":
		return 0, fmt.Errorf("errnoRet goes with SCMP_ACT_ERRNO and SCMP_ACT_TRACE, not with %s", name)
	case name == "SCMP_ACT_TRACE" && number > 0xffff, name == "SCMP_ACT_ERRNO" && number > 4095:
		return 0, fmt.Errorf("errnoRet: %d is too large", number)
	}
	switch name {
	case "SCMP_ACT_ALLOW":
		return unix.SECCOMP_RET_ALLOW, nil
	case "SCMP_ACT_ERRNO":
		return unix.SECCOMP_RET_ERRNO | number, nil
	case "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD":
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case "SCMP_ACT_KILL_PROCESS":
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case "SCMP_ACT_TRAP":
		return unix.SECCOMP_RET_TRAP, nil
	case "SCMP_ACT_LOG":
		return unix.SECCOMP_RET_LOG, nil
	case "SCMP_ACT_TRACE":
		return unix.SECCOMP_RET_TRACE | number, nil
	case actNotify:
		return 0, errors.New("SCMP_ACT_NOTIFY: nobody here answers for calls; use another action")
	case "":
		return 0, errors.New("has no action; write SCMP_ACT_ALLOW, SCMP_ACT_ERRNO or another")
	}
	return 0, fmt.Errorf("action %q: no such action", name)
}

// flags are those of seccomp(2).
func (p *Profile) flags() (uint32, error) {
	var bits uint32
	for _, name := range p.Flags {
		switch name {
		case "SECCOMP_FILTER_FLAG_LOG":
			bits |= unix.SECCOMP_FILTER_FLAG_LOG
		case "SECCOMP_FILTER_FLAG_SPEC_ALLOW":
			bits |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		case "SECCOMP_FILTER_FLAG_TSYNC": // there is but one thread
		default:
			return 0, fmt.Errorf("flags: %q: there are SECCOMP_FILTER_FLAG_LOG, SECCOMP_FILTER_FLAG_SPEC_ALLOW and SECCOMP_FILTER_FLAG_TSYNC", name)
		}
	}
	return bits, nil
}

// kernel is the first two numbers of a version of Linux.
type kernel struct{ major, minor int }

// version reads the beginning of a version: 4.8, or 6.18.44-amd64.
func version(text string) (kernel, error) {
	first, rest, _ := strings.Cut(text, ".")
	if end := strings.IndexFunc(rest, func(c rune) bool { return c < '0' || c > '9' }); end >= 0 {
		rest = rest[:end]
	}
	major, err1 := strconv.Atoi(first)
	minor, err2 := strconv.Atoi(rest)
	if err := errors.Join(err1, err2); err != nil || major < 1 {
		return kernel{}, fmt.Errorf("version of Linux %q: write it as 4.8", text)
	}
	return kernel{major, minor}, nil
}

func (k kernel) atLeast(other kernel) bool {
	return k.major > other.major || k.major == other.major && k.minor >= other.minor
}

// counts says whether a rule is for a container with these capabilities, here.
func (r *rule) counts(arch string, has func(capability string) bool, running kernel) bool {
	is, not := r.Includes, r.Excludes
	if slices.Contains(not.Arches, arch) || slices.ContainsFunc(not.Caps, has) {
		return false
	}
	if len(is.Arches) > 0 && !slices.Contains(is.Arches, arch) {
		return false
	}
	if slices.ContainsFunc(is.Caps, func(c string) bool { return !has(c) }) {
		return false
	}
	// check has read both before.
	if wanted, err := version(not.MinKernel); err == nil && running.atLeast(wanted) {
		return false
	}
	wanted, err := version(is.MinKernel)
	return err != nil || running.atLeast(wanted)
}
