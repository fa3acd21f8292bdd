// Command nsrun-image brings container images to this machine and looks after
// them: what nsrun needs a network or an archive reader for, kept
// out of nsrun so that that starts quickly. nsrun calls it; people may, too.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker.
var version = "dev"

func main() { os.Exit(runUntilSignal(os.Args[1:])) }

func runUntilSignal(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, args, os.Stdout, os.Stderr)
}
