package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/clusterd/clusterd/agent"
	"github.com/clusterd/clusterd/agent/image"
)

// NewPuller returns an agent.Puller that runs `nsrun pull`, in a service of its
// own: the daemon's may not write where images are. Given up, a pull goes on;
// what it got is not lost.
func NewPuller(nsrun string) agent.Puller {
	return func(ctx context.Context, ref string, refresh bool, progress func(string)) error {
		if !refresh && have(ref) {
			return nil
		}
		cmd := exec.CommandContext(ctx, "systemd-run", "--quiet", "--collect", "--wait", "--pipe", "--service-type=exec", "--uid=0", // with it comes HOME, where logins are kept
			"--description=Pull of image "+strings.ReplaceAll(ref, "%", "%%"), "--", nsrun, "pull", ref)
		cmd.Env = toolEnv()
		out := &lastLine{each: progress}
		cmd.Stdout, cmd.Stderr = out, out
		cmd.WaitDelay = time.Second
		err := cmd.Run()
		var exit *exec.ExitError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &exit) && out.last != "":
			// Whoever asked knows what was to be pulled.
			return errors.New(strings.TrimPrefix(strings.TrimPrefix(out.last, "nsrun-image: "), "pull "+ref+": "))
		case err != nil:
			return fmt.Errorf("run %s pull: %w", nsrun, err)
		}
		return nil
	}
}

// have says whether an image is on this machine and complete.
func have(ref string) bool {
	store, err := image.Open(image.Dir)
	if err != nil {
		return false
	}
	_, err = store.Resolve(ref)
	return err == nil
}

// lastLine tells of each line that is written to it and keeps the last.
type lastLine struct {
	each func(string)
	last string
	rest []byte
}

const lineMax = 1 << 10 // bytes; what is longer is told in pieces

func (l *lastLine) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		end := bytes.IndexByte(l.rest, '\n')
		if end < 0 && len(l.rest) < lineMax {
			return len(p), nil
		}
		if end < 0 {
			end = len(l.rest) - 1
		}
		if line := strings.TrimSpace(strings.ToValidUTF8(string(l.rest[:end+1]), "?")); line != "" {
			l.last = line
			l.each(line)
		}
		l.rest = l.rest[end+1:]
	}
}
