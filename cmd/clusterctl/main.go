package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/clusterd/clusterd/registry/api"
)

// version is set by the linker.
var version = "dev"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run executes one command line and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot(&program{stdout: stdout, stderr: stderr, getenv: os.Getenv})
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var exit exitStatus
	var told *api.Problem
	switch {
	case err == nil, errors.As(err, &exit):
	case ctx.Err() != nil && !errors.As(err, &told):
		fmt.Fprintln(stderr, "clusterctl: interrupted")
		return api.ExitCanceled
	default:
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintf(stderr, "clusterctl: %s\n", line)
		}
	}
	return exitCode(err)
}

// exitStatus is an error that has nothing left to print: everything was said,
// or another program's exit code is handed on.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// exitCode turns an error into what to exit with, by the table that
// `clusterctl help` shows.
func exitCode(err error) int {
	var exit exitStatus
	if errors.As(err, &exit) {
		return int(exit)
	}
	return api.ExitCode(err)
}

// failure is an error that exits with the given code.
func failure(exit int, format string, args ...any) error {
	return &api.Problem{Exit: exit, Message: fmt.Sprintf(format, args...)}
}

// usageError is about the command line itself.
func usageError(format string, args ...any) error {
	return failure(api.ExitUsage, format, args...)
}

// program is what all commands share.
type program struct {
	stdout, stderr io.Writer
	getenv         func(string) string
	connection     connection // what the flags say
}

// note tells the user something that is no result.
func (p *program) note(format string, args ...any) {
	fmt.Fprintf(p.stderr, format+"\n", args...)
}

// withArgs wraps one of cobra's argument checks, for no argument or for at
// least one; their errors have no exit code and don't name the command's form.
func withArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) == nil {
			return nil
		}
		wrong := "no argument given"
		if len(args) > 0 {
			wrong = fmt.Sprintf("it takes no argument, and %q is one", args[0])
		}
		return usageError("%s%s; use it as: %s", within(cmd), wrong, cmd.UseLine())
	}
}

// unitArgs wants at least one unit.
func unitArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usageError("%sno unit given; use it as: %s", within(cmd), cmd.UseLine())
	}
	return nil
}

// oneUnit wants exactly one unit.
func oneUnit(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usageError("%s%d units given; it takes one", within(cmd), len(args))
	}
	return unitArgs(cmd, args)
}
