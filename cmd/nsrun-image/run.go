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

// errUsage says that the command line makes no sense.
var errUsage = errors.New("see nsrun-image --help")

const help = `nsrun-image brings container images to this machine and looks after them.

Usage:
  nsrun-image [--root DIR] [--registries FILE] VERB …

Verbs:
  pull [-q] [--platform OS/ARCH] REF…   fetch images, or see that they are up to date
  images [-q] [--digests] [--no-trunc]  list the images that are here
  rmi [-f] REF…                         remove images that no container uses
  prune                                 remove what no name and no container uses
  login [-u USER] [--password-stdin] [HOST]  check a password and keep it where docker would
  logout [HOST]                         forget it
  verify [REF…]                         compare images with what was pulled
  version                               print name and version

Flags:
  --root DIR          where images are kept (default ` + image.Dir + `; without root ~/.local/share/nsrun/images)
  --registries FILE   which hosts to ask, and how (default ` + image.RegistriesFile + `;
                      without root ~/.config/nsrun/registries.conf goes before that)

Exit codes: 0 done, 1 failed, 125 wrong usage, 130 interrupted.

Example:
  nsrun-image pull busybox && nsrun-image images
`

// tool is one call of the program.
type tool struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	root           string
	registries     string
}

// run is the program without its process.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	t := &tool{stdin: stdin, stdout: stdout, stderr: stderr}
	err := t.dispatch(ctx, args)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(stderr, "nsrun-image: %v\n", err)
	}
	return exitCode(ctx, err)
}

func exitCode(ctx context.Context, err error) int {
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitDone
	case errors.Is(err, errUsage):
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
	showVersion := flags.Bool("version", false, "")
	if err := t.parse(flags, args); err != nil {
		return err
	}
	verb, rest := flags.Arg(0), flags.Args()
	if *showVersion {
		verb = "version"
	}
	if len(rest) > 0 {
		rest = rest[1:]
	}
	switch verb {
	case "", "help":
		fmt.Fprint(t.stdout, help)
		return nil
	case "version":
		fmt.Fprintln(t.stdout, "nsrun-image", version)
		return nil
	case "pull":
		return t.pull(ctx, rest)
	case "images":
		return t.images(rest)
	case "rmi":
		return t.remove(ctx, rest)
	case "prune":
		return t.prune(ctx, rest)
	case "login":
		return t.login(ctx, rest)
	case "logout":
		return t.logout(rest)
	case "format":
		return t.format(rest)
	case "verify":
		return t.verify(ctx, rest)
	}
	return fmt.Errorf("unknown verb %q; %w", verb, errUsage)
}

// flags returns an empty set of flags that stays silent: run prints the error.
func (t *tool) flags(verb string) *flag.FlagSet {
	flags := flag.NewFlagSet(verb, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	return flags
}

func (t *tool) parse(flags *flag.FlagSet, args []string) error {
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(t.stdout, help)
		return err
	}
	if err != nil {
		return fmt.Errorf("%w; %w", err, errUsage)
	}
	return nil
}

// parseRefs parses a verb's flags and wants at least refsMin references.
func (t *tool) parseRefs(flags *flag.FlagSet, args []string, refsMin int) ([]string, error) {
	if err := t.parse(flags, args); err != nil {
		return nil, err
	}
	refs := flags.Args()
	if len(refs) < refsMin {
		return nil, fmt.Errorf("%s: name an image; %w", flags.Name(), errUsage)
	}
	for _, ref := range refs {
		if strings.HasPrefix(ref, "-") {
			return nil, fmt.Errorf("flag %s comes after %s; put flags first: %w", ref, refs[0], errUsage)
		}
		if _, err := image.ParseReference(ref); err != nil {
			return nil, err
		}
	}
	return refs, nil
}

func (t *tool) store() (*image.Store, error) { return image.Open(t.root) }

// defaultRoot is root's store, or the user's own.
func defaultRoot() string {
	if os.Geteuid() == 0 {
		return image.Dir
	}
	data := os.Getenv("XDG_DATA_HOME")
	if home, err := os.UserHomeDir(); data == "" && err == nil {
		data = filepath.Join(home, ".local", "share")
	}
	if data == "" {
		return image.Dir
	}
	return filepath.Join(data, "nsrun", "images")
}

// defaultRegistries is the machine's file, or the user's own where there is one.
func defaultRegistries() string {
	dir, err := os.UserConfigDir()
	if err != nil || os.Geteuid() == 0 {
		return image.RegistriesFile
	}
	own := filepath.Join(dir, "nsrun", filepath.Base(image.RegistriesFile))
	if _, err := os.Stat(own); err != nil {
		return image.RegistriesFile
	}
	return own
}
