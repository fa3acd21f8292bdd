package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

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
  nsrun-image [--root DIR] [--registries FILE] [--policy FILE] VERB …

Verbs:
  pull [-q] [--platform OS/ARCH] [--require-digest] REF…
                      fetch images, or see that they are up to date
  load [-q] [-i FILE] [--platform OS/ARCH]
                      bring in the images of an archive, compressed or not (default: standard input)
  save [-o FILE] [--format docker-archive|oci-archive] REF…
                      write images to an archive (default: standard output)
  tag SRC DST         give an image another name
  images [-aq] [--digests] [--no-trunc] [--filter F] [--format F] [NAME[:TAG]]
                      list the images that are here; filters: dangling=, reference=, label=,
                      before=, since=, until=; formats: json or a template
  inspect [-f F] REF…  print all that is known of images, as docker does
  history REF         print how an image says it was made
  rmi [-f] REF…       remove images that no container uses
  prune [-a] [-f] [--filter until=24h|label=L] [--keep-storage 10G]
                      remove what no name and no container uses, and with -a images that no
                      container uses: last used before, or the longest unused until so much is left
  login [-u USER] [--password-stdin] [HOST]  check a password and keep it where docker would
  logout [HOST]       forget it
  verify [REF…]       compare images with what was pulled
  version             print name and version

A REF is NAME[:TAG][@DIGEST], or docker-archive:FILE[:REF], oci-archive:FILE[:REF], oci:DIR[:REF]; all
but pull take an image's id, too.

Flags:
  --root DIR          where images are kept (default ` + image.Dir + `; without root ~/.local/share/nsrun/images)
  --registries FILE   which hosts to ask, and how (default ` + image.RegistriesFile + `;
                      without root ~/.config/nsrun/registries.conf goes before that)
  --policy FILE       which images are allowed, and how many are kept (default ` + image.PolicyFile + `)

NSRUN_CONF names another directory than /etc/nsrun for those files.

Exit codes: 0 done, 1 failed or refused by policy, 125 wrong usage, 130 interrupted.

Example:
  nsrun-image pull busybox && nsrun-image images
`

// tool is one call of the program.
type tool struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	root           string
	registries     string
	policyFile     string
}

// run is the program without its process.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	t := &tool{stdin: stdin, stdout: stdout, stderr: stderr}
	err := t.dispatch(ctx, args)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(stderr, "nsrun-image: %s\n", image.PrintableLines(err.Error()))
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

// verb is one thing the program does.
type verb func(t *tool, ctx context.Context, args []string) error

func verbs() map[string]verb {
	return map[string]verb{
		"pull": (*tool).pull, "load": (*tool).load, "save": (*tool).save, "tag": (*tool).tag,
		"images": (*tool).images, "inspect": (*tool).inspect, "history": (*tool).history, "rmi": (*tool).remove, "prune": (*tool).prune,
		"login": (*tool).login, "logout": (*tool).logout, "verify": (*tool).verify, "format": (*tool).format,
		"version": (*tool).version, "help": (*tool).help, "": (*tool).help,
	}
}

func (t *tool) dispatch(ctx context.Context, args []string) error {
	flags := t.flags("")
	flags.StringVar(&t.root, "root", defaultRoot(), "")
	flags.StringVar(&t.registries, "registries", defaultRegistries(), "")
	flags.StringVar(&t.policyFile, "policy", settingsFile(image.PolicyFile), "")
	showVersion := flags.Bool("version", false, "")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(t.stdout, help)
		return err
	} else if err != nil {
		return fmt.Errorf("%w; %w", err, errUsage)
	}
	name, rest := flags.Arg(0), flags.Args()
	if *showVersion {
		name = "version"
	}
	if len(rest) > 0 {
		rest = rest[1:]
	}
	do := verbs()[name]
	if do == nil {
		return fmt.Errorf("unknown verb %q; %w", name, errUsage)
	}
	return do(t, ctx, rest)
}

func (t *tool) help(context.Context, []string) error {
	fmt.Fprint(t.stdout, help)
	return nil
}

func (t *tool) version(context.Context, []string) error {
	fmt.Fprintln(t.stdout, "nsrun-image", version)
	return nil
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
