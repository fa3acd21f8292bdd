package functional

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clusterd/clusterd/functional/lab"
)

// members is who is an etcd member, as the control machine on one machine has it.
func (c *cluster) members(by string) (voters []string, leader string, err error) {
	c.Helper()
	r := c.try("--endpoint", "unix://"+c.lab.Socket(by), "list-machines", "--no-legend", "--fields", "hostname,member,leader")
	if r.code != 0 {
		return nil, "", fmt.Errorf("%v", r)
	}
	for line := range strings.Lines(r.stdout) {
		f := strings.Fields(line)
		if len(f) != 3 {
			return nil, "", fmt.Errorf("list-machines printed %q", r.stdout)
		}
		if f[1] == "true" {
			voters = append(voters, f[0])
		}
		if f[2] == "true" {
			leader = f[0]
		}
	}
	slices.Sort(voters)
	return voters, leader, nil
}

// membershipSteps are the changes of etcd's membership from the first removal
// on, as the logs of some machines tell them, first come first.
func (c *cluster) membershipSteps(machines []string) []string {
	c.Helper()
	var all []string
	for _, m := range machines {
		log := c.must(m, "journalctl", "-u", "clusterd", "-o", "short-iso-precise", "--no-pager")
		for line := range strings.Lines(log) {
			_, step, changed := strings.Cut(line, "etcd membership changed step=")
			if changed && !strings.Contains(step, "record of") {
				all = append(all, line[:len("2006-01-02T15:04:05.000000")]+" "+strings.TrimSpace(step))
			}
		}
	}
	slices.Sort(all)
	first := slices.IndexFunc(all, func(s string) bool { return strings.Contains(s, "remove ") })
	return all[max(first, 0):]
}

// TestMemberReplacement kills the control machine that leads for good, removes
// it and adds a fresh one. At no time is the majority at risk: the dead one goes
// first, the fresh one learns before it votes. What runs elsewhere runs on.
func TestMemberReplacement(t *testing.T) {
	t.Parallel()
	c := ownCluster(t, lab.Options{Name: "member"})
	var dead string
	c.eventually("three members and a leader", time.Minute, func() (string, bool) {
		voters, leader, err := c.members("m1")
		dead = leader
		return fmt.Sprint(voters, leader, err), len(voters) == 3 && leader != ""
	})
	where := c.someUnits()
	maps.DeleteFunc(where, func(_ string, s state) bool { return s.Hostname == dead })
	if len(where) == 0 {
		t.Fatalf("all units are on %s", dead)
	}
	others := slices.DeleteFunc([]string{"m1", "m2", "m3"}, func(m string) bool { return m == dead })
	by := others[0]
	ctl := func(args ...string) result {
		return c.try(append([]string{"--endpoint", "unix://" + c.lab.Socket(by)}, args...)...)
	}
	c.calm("a control machine is replaced", where, func() {
		if err := c.lab.Kill(dead); err != nil {
			t.Fatal(err)
		}
		c.eventually("it is known to be dead", failover, func() (string, bool) {
			r := ctl("list-machines", "--no-legend", "--fields", "hostname,state")
			return fmt.Sprint(r), strings.Contains(strings.Join(strings.Fields(r.stdout), " "), dead+" dead")
		})
		if r := ctl("machine", "remove", dead); r.code != 0 {
			t.Fatalf("machine remove: %v", r)
		}
		c.eventually("its member is removed", soon, func() (string, bool) {
			voters, _, err := c.members(by)
			return fmt.Sprint(voters, err), slices.Equal(voters, others)
		})
		fresh, err := c.lab.Add(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		want := slices.Sorted(slices.Values(append(slices.Clone(others), fresh)))
		c.eventually(fresh+" is a member", 90*time.Second, func() (string, bool) {
			voters, _, err := c.members(by)
			if err == nil && !slices.Equal(voters, others) && !slices.Equal(voters, want) {
				t.Errorf("meanwhile the members are %v: neither %v nor %v", voters, others, want)
			}
			return fmt.Sprint(voters, err), slices.Equal(voters, want)
		})
		var steps []string
		c.eventually(fresh+" is a full member", time.Minute, func() (string, bool) {
			steps = c.membershipSteps(others)
			return strings.Join(steps, "\n"), strings.Contains(strings.Join(steps, "\n"), "promote ")
		})
		t.Logf("%v after the join, these steps were done:\n%s", time.Since(began).Round(time.Second), strings.Join(steps, "\n"))
		in := func(what string) int {
			return slices.IndexFunc(steps, func(s string) bool { return strings.Contains(s, what) })
		}
		if remove, learn, vote := in("remove "), in("add learner "), in("promote "); remove != 0 || learn != 1 || vote != 2 || len(steps) != 3 {
			t.Errorf("want the dead one removed, then a learner added, then promoted, and nothing else")
		}
		if r := ctl("start", c.file("after.service", sleeper(""))); r.code != 0 {
			t.Errorf("the cluster takes no work: %v", r)
		}
	})
	// With the fresh one, the loss of another is borne.
	if err := c.lab.Kill(others[1]); err != nil {
		t.Fatal(err)
	}
	c.eventually("a change is made without "+others[1], failover, func() (string, bool) {
		r := ctl("submit", c.file("late.service", sleeper("")))
		return fmt.Sprint(r), r.code == 0
	})
}
