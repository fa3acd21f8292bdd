package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/clusterd/clusterd/agent/image"
)

// Exit codes, docker's where docker has one.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 125
	exitInterrupted = 130
)

// usageError says that the command line makes no sense; whoever prints it adds
// where help is to be had.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// tool is one call of the program.
type tool struct {
	name       string // as people called it: nsrun, docker, nsrun-image
	verb       string // "" before it is known
	stdin      io.Reader
	stdout     *results
	stderr     io.Writer
	root       string
	registries string
	policyFile string
}

// run is the program without its process. args begins with the program's name.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	printed := &results{to: stdout}
	t := &tool{name: calledAs(args[0]), stdin: stdin, stdout: printed, stderr: stderr}
	err := t.dispatch(ctx, args[1:])
	if (err == nil || errors.Is(err, flag.ErrHelp)) && printed.err != nil {
		err = fmt.Errorf("print the result: %w", printed.err)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		hint := ""
		if errors.As(err, &usageError{}) {
			hint = "; see " + strings.Join(strings.Fields(t.name+" "+t.verb+" --help"), " ")
		}
		fmt.Fprintf(stderr, "%s: %s%s\n", t.name, image.PrintableLines(err.Error()), hint)
	}
	return exitCode(ctx, err)
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

// calledAs is the name that messages begin with: nsrun hands its verbs over
// under its own name.
func calledAs(program string) string {
	switch base := filepath.Base(program); base {
	case "nsrun", "docker":
		return base
	}
	return "nsrun-image"
}

func exitCode(ctx context.Context, err error) int {
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitDone
	case errors.As(err, &usageError{}):
		return exitUsage
	case ctx.Err() != nil:
		return exitInterrupted
	}
	return exitFailed
}

func (t *tool) dispatch(ctx context.Context, args []string) error {
	flags := t.flags("")
	flags.StringVar(&t.root, "root", defaultRoot(), "")
	flags.StringVar(&t.registries, "registries", defaultRegistries(), "")
	flags.StringVar(&t.policyFile, "policy", settingsFile(image.PolicyFile), "")
	showVersion := flags.Bool("version", false, "")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return t.helpAll()
	} else if err != nil {
		return usageError{err}
	}
	if *showVersion {
		return t.version(ctx, nil)
	}
	if flags.NArg() == 0 {
		return t.helpAll()
	}
	v, ok := verbOf(flags.Arg(0))
	if !ok {
		return usageError{fmt.Errorf("unknown verb %q", flags.Arg(0))}
	}
	t.verb = v.name
	return v.do(t, ctx, flags.Args()[1:])
}

// say tells something beside the result.
func (t *tool) say(format string, args ...any) {
	fmt.Fprintf(t.stderr, t.name+": "+format+"\n", args...)
}

func (t *tool) version(_ context.Context, args []string) error {
	if rest, err := t.parse(t.flags("version"), args); err != nil || len(rest) > 0 {
		return errors.Join(err, tooMany("version", rest))
	}
	_, err := fmt.Fprintln(t.stdout, "nsrun-image", version)
	return err
}

// settingsFile is where a file of settings is: NSRUN_CONF names another
// directory for all of them.
func settingsFile(path string) string {
	if dir := os.Getenv("NSRUN_CONF"); dir != "" {
		return filepath.Join(dir, filepath.Base(path))
	}
	return path
}

func (t *tool) store() (*image.Store, error) {
	if t.root == "" {
		return nil, fmt.Errorf("no home directory is known for user %d; set HOME or give --root", os.Geteuid())
	}
	return image.Open(t.root)
}

// defaultRoot is root's store, or the user's own; "" if the user has no home.
func defaultRoot() string {
	if os.Geteuid() == 0 {
		return image.Dir
	}
	return rootOf(os.Getenv("XDG_DATA_HOME"), os.Getenv("HOME"))
}

func rootOf(data, home string) string {
	if !filepath.IsAbs(data) {
		if !filepath.IsAbs(home) || filepath.Clean(home) == "/" {
			return ""
		}
		data = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(data, "nsrun", "images")
}

// defaultRegistries is the machine's file, or the user's own where there is one.
func defaultRegistries() string {
	machines := settingsFile(image.RegistriesFile)
	dir, err := os.UserConfigDir()
	if err != nil || os.Geteuid() == 0 || machines != image.RegistriesFile {
		return machines
	}
	own := filepath.Join(dir, "nsrun", filepath.Base(image.RegistriesFile))
	if _, err := os.Stat(own); err != nil {
		return machines
	}
	return own
}
