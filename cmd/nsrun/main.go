// Whether the unit's share of the processors changes is of no interest here: to
// look takes a goroutine, and a thread for it, at every start.
//
//go:debug updatemaxprocs=0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/runtime"
)

// version is set by the linker.
var version = "dev"

func main() { os.Exit(run(os.Args, os.Stdout, os.Stderr)) }

// app is one call of the command.
type app struct {
	name   string // as it was called: nsrun or docker
	dir    *runtime.Dir
	store  *image.Store
	stdout *results
	stderr io.Writer
}

// results is where results go. It remembers the first write that failed, for
// the many places that print and don't look.
type results struct {
	to  io.Writer
	err error
}

func (r *results) Write(p []byte) (int, error) {
	n, err := r.to.Write(p)
	if err != nil && r.err == nil {
		r.err = err
	}
	return n, err
}

// usageError is a wrong flag or argument: exit 125, as docker has it.
type usageError struct{ error }

// exitError is a program's own exit code, passed on without a word.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// profileVerb compiles a system call profile: see [app.profiles].
const profileVerb = "compile-profile"

type verb struct {
	name, about string
	do          func(*app, []string) error
}

func run(args []string, stdout, stderr io.Writer) int {
	if runtime.Displaced() {
		fmt.Fprintln(stderr, "nsrun: a container has only a link of the kernel's to the machine's nsrun as its program; give it a program of its own")
		return runtime.ExitNotExecutable
	}
	a := &app{name: "nsrun", stdout: &results{to: stdout}, stderr: stderr}
	homeless := a.open()
	if filepath.Base(args[0]) == "docker" {
		a.name = "docker"
	}
	args = args[1:]
	name := "help"
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	switch name {
	case "--help", "-h", "-help":
		name = "help"
	case "--version", "-v", "-version":
		name = "version"
	default:
		name, args = ungroup(name, args)
	}
	for _, v := range verbs() {
		if v.name != name {
			continue
		}
		for _, arg := range args {
			if arg == "--" || len(arg) > 0 && arg[0] != '-' {
				break
			}
			if arg == "--help" || arg == "-h" && v.name != "run" { // run -h is docker's --hostname
				return a.otherwise("help", []string{name})
			}
		}
		if homeless != nil && v.name != "help" && v.name != "version" {
			return a.exitCode(v.name, homeless)
		}
		return a.exitCode(v.name, v.do(a, args))
	}
	return a.otherwise(name, args)
}

// open finds where containers and images are.
func (a *app) open() (err error) {
	dir, err := runtime.SystemDir()
	if err != nil {
		return err
	}
	if a.store, err = image.Open(dir.Images()); err != nil {
		return err
	}
	a.dir = dir
	a.dir.UseLeases(leases{store: a.store})
	a.dir.UseProfiles(a.profiles)
	return nil
}

// exitCode prints an error and turns it into docker's number for it.
func (a *app) exitCode(verb string, err error) int {
	var exit exitError
	if err == nil && a.stdout.err != nil {
		err = fmt.Errorf("print the result: %w", a.stdout.err)
	}
	if err == nil {
		return 0
	}
	if errors.As(err, &exit) {
		return int(exit)
	}
	fmt.Fprintf(a.stderr, "%s: %s: %v\n", a.name, verb, err)
	var usage usageError
	switch {
	case errors.Is(err, runtime.ErrNoTerminal), verb == "exec" && (errors.Is(err, runtime.ErrUnknown) || errors.Is(err, runtime.ErrStopped)):
		return 1
	case errors.As(err, &usage), verb == "run", verb == "exec":
		return runtime.ExitFailed
	}
	return 1
}
