package systemd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"time"

	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/unit"
)

// Journal writes what journalctl(1) shows of a unit to w, until its end or,
// when following, until ctx ends, which is no error.
func (d *Driver) Journal(ctx context.Context, u unit.Name, o api.JournalOptions, w io.Writer) error {
	args := []string{"--no-pager", "--quiet", "--unit=" + string(u)}
	switch {
	case o.Lines < 0:
		args = append(args, "--lines=all")
	case o.Lines > 0:
		args = append(args, "--lines="+strconv.Itoa(o.Lines))
	}
	if o.Follow {
		args = append(args, "--follow")
	}
	if o.Output != "" {
		args = append(args, "--output="+o.Output)
	}
	if o.Since != "" {
		args = append(args, "--since="+o.Since)
	}
	_, err := d.tool(ctx, w, "journalctl", args...)
	if err != nil {
		return fmt.Errorf("read journal of %s: %w", u, err)
	}
	return nil
}

// Status writes what systemctl(1) says of a unit to w, and returns systemctl's
// exit code: 0 active, 3 not active, 4 unknown.
func (d *Driver) Status(ctx context.Context, u unit.Name, w io.Writer) (exit int, err error) {
	exit, err = d.tool(ctx, w, "systemctl", "status", "--no-pager", "--full", "--lines=10", "--", string(u))
	if err != nil && exit == 0 {
		return 1, fmt.Errorf("status of %s: %w", u, err)
	}
	return exit, nil
}

func toolEnv() []string {
	return []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "SYSTEMD_COLORS=0", "SYSTEMD_URLIFY=0"}
}

// tool runs one of systemd's own programs. Its exit code is not 0 when it ran
// and said so; then the error says so, too.
func (d *Driver) tool(ctx context.Context, w io.Writer, program string, args ...string) (int, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = toolEnv()
	cmd.Stdout, cmd.Stderr = w, w
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil, ctx.Err() != nil:
		return 0, nil
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode(), fmt.Errorf("%s: exit code %d", program, exit.ExitCode())
	}
	return 0, fmt.Errorf("%s: %w", program, err)
}
