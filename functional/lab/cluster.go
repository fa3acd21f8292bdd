package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// clusterUnit is clusterd's own unit, as the machines have it.
const clusterUnit = "clusterd.service"

// formLimit bounds how long a cluster may take to form or a machine to join.
const formLimit = 2 * time.Minute

// findUnitFile looks for clusterd's unit where an installation, or a source
// tree with its bin directory, has it.
func findUnitFile(bin string) ([]byte, error) {
	places := []string{
		filepath.Join(bin, clusterUnit),
		filepath.Join(bin, "../cmd/clusterd", clusterUnit),
		filepath.Join("/usr/lib/systemd/system", clusterUnit),
	}
	for _, path := range places {
		text, err := os.ReadFile(path)
		if !errors.Is(err, fs.ErrNotExist) {
			return text, err
		}
	}
	return nil, fmt.Errorf("find %s: it is in none of %s", clusterUnit, strings.Join(places, ", "))
}

// installClusterd puts clusterd's unit and configuration into the layer. The
// unit is enabled; until the machine is of a cluster its condition keeps it off.
func (p places) installClusterd(bin, config string) error {
	text, err := findUnitFile(bin)
	if err != nil {
		return err
	}
	if err := putFile(filepath.Join(p.layer(), "etc/systemd/system", clusterUnit), string(text), 0o644); err != nil {
		return err
	}
	wants := filepath.Join(p.layer(), "etc/systemd/system/multi-user.target.wants")
	if err := os.MkdirAll(wants, 0o755); err != nil {
		return err
	}
	if err := os.Symlink("../"+clusterUnit, filepath.Join(wants, clusterUnit)); err != nil {
		return err
	}
	if config == "" {
		return nil
	}
	return putFile(filepath.Join(p.layer(), "etc/clusterd/clusterd.conf"), config, 0o644)
}

// form makes a cluster of machines that are up and of none yet: the first
// begins it, the others join.
func (l *Lab) form(ctx context.Context, records []record) error {
	ctx, cancel := context.WithTimeout(ctx, formLimit)
	defer cancel()
	first := records[0]
	l.say("making a cluster, %s first", first.Name)
	if _, err := l.do(ctx, first, "clusterd", "init", "--address", first.Address); err != nil {
		return err
	}
	if err := l.startClusterd(ctx, &first); err != nil {
		return err
	}
	return l.join(ctx, first, records[1:])
}

// join brings machines into the cluster that by is of, and waits until the
// cluster shows them.
func (l *Lab) join(ctx context.Context, by record, records []record) error {
	ctx, cancel := context.WithTimeout(ctx, formLimit)
	defer cancel()
	err := each(records, func(i int) error {
		r := records[i]
		token, err := l.token(ctx, by)
		if err != nil {
			return err
		}
		if _, err := l.do(ctx, r, "clusterd", "join", "--address", r.Address, token); err != nil {
			return err
		}
		return l.startClusterd(ctx, &records[i])
	})
	if err != nil {
		return err
	}
	return l.awaitCluster(ctx, by)
}

// token asks a machine of the cluster for one, until there is an answer: a
// cluster that has just begun elects first.
func (l *Lab) token(ctx context.Context, by record) (string, error) {
	for {
		token, err := l.do(ctx, by, "clusterctl", "token", "create")
		if err == nil {
			return strings.TrimSpace(token), nil
		}
		select {
		case <-ctx.Done():
			return "", err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (l *Lab) startClusterd(ctx context.Context, r *record) error {
	if _, err := l.do(ctx, *r, "systemctl", "start", clusterUnit); err != nil {
		log, _ := l.do(ctx, *r, "journalctl", "--no-pager", "-n", "20", "-u", clusterUnit)
		return fmt.Errorf("%w\n%s", err, log)
	}
	r.Joined = true
	return l.writeRecord(*r)
}

// do runs a command on a machine that must succeed, and returns what it prints.
func (l *Lab) do(ctx context.Context, r record, argv ...string) (string, error) {
	var out, errs bytes.Buffer
	code, err := l.shell(ctx, r, argv, nil, &out, &errs)
	if err != nil {
		return "", err
	}
	if code != 0 {
		return "", fmt.Errorf("machine %s: %s: exit code %d: %s", r.Name, strings.Join(argv[:min(2, len(argv))], " "), code,
			strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// seen is what the lab reads of list-machines' JSON.
type seen struct {
	Hostname string `json:"hostname"`
	State    string `json:"state"`
	Member   bool   `json:"member"`
}

// awaitCluster waits until every machine that runs and has joined is alive in
// the cluster's eyes, and as many are etcd members as shall be.
func (l *Lab) awaitCluster(ctx context.Context, by record) error {
	l.say("waiting for the machines to find each other")
	var last string
	for {
		text, err := l.do(ctx, by, "clusterctl", "list-machines", "--output=json")
		if err == nil {
			last = text
			done, missing, jsonErr := l.complete(text)
			if done || jsonErr != nil {
				return jsonErr
			}
			last = missing
		} else if ctx.Err() == nil {
			last = err.Error()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("form the cluster: %w; last seen: %s", ctx.Err(), last)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// complete says whether list-machines shows the whole cluster, and if not
// what is missing.
func (l *Lab) complete(text string) (bool, string, error) {
	var machines []seen
	if err := json.Unmarshal([]byte(text), &machines); err != nil {
		return false, "", fmt.Errorf("read list-machines: %w", err)
	}
	records, err := l.readRecords()
	if err != nil {
		return false, "", err
	}
	byName := map[string]seen{}
	members := 0
	for _, m := range machines {
		byName[m.Hostname] = m
		if m.Member {
			members++
		}
	}
	joined := 0
	for _, r := range records {
		if !r.Joined || !r.running() {
			continue
		}
		joined++
		if state := byName[r.Name].State; state != "alive" {
			return false, fmt.Sprintf("machine %s is %q", r.Name, state), nil
		}
	}
	if want := membersOf(joined); members < want {
		return false, fmt.Sprintf("%d of %d etcd members", members, want), nil
	}
	return true, "", nil
}

// membersOf is how many etcd members a cluster of that many machines has,
// where three are asked for: never an even number.
func membersOf(machines int) int {
	if machines >= 3 {
		return 3
	}
	return 1
}
