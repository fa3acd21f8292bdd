package gossip

import (
	"strings"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/clusterd/clusterd/registry"
)

// events takes in who came and went. memberlist holds its own lock meanwhile.
type events struct{ *Gossip }

func (e *events) NotifyJoin(n *memberlist.Node)   { e.heard(n.Name, true) }
func (e *events) NotifyUpdate(n *memberlist.Node) { e.heard(n.Name, true) }
func (e *events) NotifyLeave(n *memberlist.Node)  { e.heard(n.Name, false) }

func (g *Gossip) heard(name string, alive bool) {
	m := registry.MachineID(name)
	if m == g.config.Name {
		return
	}
	g.mu.Lock()
	h := g.states[m]
	if h == nil {
		h = &heard{}
		g.states[m] = h
	}
	changed := h.alive != alive || !h.suspected.IsZero()
	h.alive, h.suspected = alive, time.Time{}
	g.mu.Unlock()
	if changed {
		g.config.Log.Debug("gossip", "machine", m, "alive", alive)
		g.config.Changed(m)
	}
}

// suspect notes that a machine did not answer; true when that is new.
func (g *Gossip) suspect(m registry.MachineID) bool {
	g.mu.Lock()
	h := g.states[m]
	fresh := h != nil && h.alive && time.Since(h.suspected) > g.suspicionMax()
	if fresh {
		h.suspected = time.Now()
	}
	g.mu.Unlock()
	if fresh {
		g.config.Log.Debug("gossip", "machine", m, "suspect", true)
		g.config.Changed(m)
	}
	return fresh
}

// lines reads memberlist's log. memberlist tells nobody in any other way that
// it suspects a machine.
type lines struct{ *Gossip }

func (l *lines) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if _, rest, ok := strings.Cut(line, "memberlist: Suspect "); ok {
			if name, _, ok := strings.Cut(rest, " has failed"); ok && l.suspect(registry.MachineID(name)) {
				l.queue.QueueBroadcast(suspicion(name))
			}
		}
		l.config.Log.Debug("memberlist", "line", line)
	}
	return len(b), nil
}

// suspicion is the message by which the others hear of one.
type suspicion string

const suspicionPrefix = "suspect "

func (s suspicion) Invalidates(b memberlist.Broadcast) bool { return b == memberlist.Broadcast(s) }
func (s suspicion) Message() []byte                         { return []byte(suspicionPrefix + string(s)) }
func (s suspicion) Finished()                               {}

// delegate passes suspicions on.
type delegate struct{ *Gossip }

func (d *delegate) NotifyMsg(b []byte) {
	name, ok := strings.CutPrefix(string(b), suspicionPrefix)
	if ok && registry.MachineID(name) != d.config.Name {
		d.suspect(registry.MachineID(name))
	}
}

func (d *delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.queue.GetBroadcasts(overhead, limit)
}
func (d *delegate) NodeMeta(int) []byte           { return nil }
func (d *delegate) LocalState(bool) []byte        { return nil }
func (d *delegate) MergeRemoteState([]byte, bool) {}

// pings clears a suspicion once the machine answers.
type pings struct{ *Gossip }

func (p *pings) AckPayload() []byte { return nil }

func (p *pings) NotifyPingComplete(other *memberlist.Node, _ time.Duration, _ []byte) {
	m := registry.MachineID(other.Name)
	p.mu.Lock()
	h := p.states[m]
	cleared := h != nil && !h.suspected.IsZero()
	if cleared {
		h.suspected = time.Time{}
	}
	p.mu.Unlock()
	if cleared {
		p.config.Changed(m)
	}
}

// conflicts reports that two hosts have one identity.
type conflicts struct{ *Gossip }

func (c *conflicts) NotifyConflict(existing, other *memberlist.Node) {
	c.config.Log.Warn("two hosts have the same machine id; give one a new identity with systemd-machine-id-setup",
		"machine", existing.Name, "address", existing.Address(), "other", other.Address())
}
