// Command nsrun-image brings container images to this machine and looks after
// them: what nsrun needs a network or an archive reader for, kept
// out of nsrun so that that starts quickly. nsrun calls it; people may, too.
package main

import (
	"context"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// version is set by the linker.
var version = "dev"

func main() { os.Exit(runUntilSignal(os.Args)) }

func runUntilSignal(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// systemd sets no HOME for services of root, whose logins are wanted all the same.
	// A relative one would be another for each working directory.
	if !filepath.IsAbs(os.Getenv("HOME")) {
		os.Unsetenv("HOME")
		if u, err := user.LookupId(strconv.Itoa(os.Getuid())); err == nil && filepath.IsAbs(u.HomeDir) {
			os.Setenv("HOME", u.HomeDir)
		}
	}
	return run(ctx, args, os.Stdin, os.Stdout, os.Stderr)
}
