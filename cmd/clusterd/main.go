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
	"github.com/spf13/pflag"

	"github.com/clusterd/clusterd/registry/api"
)

// version is set by the linker.
var version = "dev"

// usageError is a wrong flag, argument or configuration: exit 2, nothing done.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// errNotRoot is refused before anything is touched.
var errNotRoot = errors.New("only root may do this; try again with sudo")

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	cmd := rootCommand(stdout, stderr)
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "clusterd: %v\n", err)
	return exitCode(err)
}

func exitCode(err error) int {
	var usage usageError
	switch {
	case errors.As(err, &usage):
		return api.ExitUsage
	case errors.Is(err, errNotRoot):
		return api.ExitRefused
	}
	return api.ExitCode(err)
}

// usage words the errors of cobra's own argument checks, which come untyped.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) == nil {
			return nil
		}
		wrong := "no argument given"
		if len(args) > 0 {
			wrong = fmt.Sprintf("%q is one argument too many", args[len(args)-1])
		}
		if similar := cmd.SuggestionsFor(strings.Join(args, " ")); cmd.HasSubCommands() {
			wrong = fmt.Sprintf("no command %q", args[0])
			if len(similar) > 0 {
				return usageError{fmt.Errorf("%s; did you mean %s?", wrong, strings.Join(similar, " or "))}
			}
		}
		return usageError{fmt.Errorf("%s; use it as: %s", wrong, cmd.UseLine())}
	}
}

func rootCommand(stdout, stderr io.Writer) *cobra.Command {
	var o options
	root := &cobra.Command{
		Use:   "clusterd",
		Short: "this machine's part in the cluster",
		Long: `clusterd is this machine's part in a cluster of systemd machines. Without a
command it is the daemon, which systemd starts (clusterd.service). Stopping it
stops no unit.

Every setting can stand in ` + defaultConfigPath + ` (section [Clusterd], and in
drop-ins clusterd.conf.d/*.conf), in the environment (DataDir= is
CLUSTERD_DATA_DIR) and on the command line; the latter overrides the former.`,
		Example: `  clusterd init                    # make a cluster, on its first machine
  clusterctl token create          # there: a token that lets one machine in
  clusterd join TOKEN              # on the next machine
  systemctl enable --now clusterd
  clusterd --check-config          # what is in force, and where it came from`,
		Args:          usage(cobra.NoArgs),
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.load(cmd.Flags())
			if err != nil {
				return usageError{err}
			}
			if o.check {
				_, err := io.WriteString(stdout, c.String())
				return err
			}
			return serve(cmd.Context(), c.Config, func() (*sourced, error) { return o.load(cmd.Flags()) }, stderr)
		},
	}
	root.SetVersionTemplate("clusterd {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
	})
	root.SuggestionsMinimumDistance = 2
	shortenUsage(root)
	root.CompletionOptions.DisableDefaultCmd = true
	o.register(root.PersistentFlags())
	root.Flags().BoolVar(&o.check, "check-config", false, "print the settings in force with where each came from, and exit")
	root.AddCommand(initCommand(&o, stdout), joinCommand(&o, stdout), versionCommand(stdout))
	return root
}

// shortenUsage leaves the many settings out of the commands' helps.
func shortenUsage(root *cobra.Command) {
	usage := root.UsageFunc()
	root.SetUsageFunc(func(cmd *cobra.Command) error {
		if cmd == root {
			return usage(cmd)
		}
		hide := func(hidden bool) {
			root.PersistentFlags().VisitAll(func(f *pflag.Flag) { f.Hidden = hidden })
		}
		hide(true)
		defer hide(false)
		err := usage(cmd)
		if cmd.HasFlags() && cmd.Name() != "version" && cmd.Name() != "help" {
			fmt.Fprintln(cmd.OutOrStderr(), "\nIt takes all settings as flags, such as --address, --data-dir and --members: clusterd --help")
		}
		return err
	})
}

func versionCommand(stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "print name and version", Example: "  clusterd version", Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(stdout, "clusterd %s\n", version)
			return err
		},
	}
}

const defaultConfigPath = "/etc/clusterd/clusterd.conf"

// options are the flags: one for each setting, and where the file is.
type options struct {
	config string
	check  bool
}

func (o *options) register(flags *pflag.FlagSet) {
	flags.StringVar(&o.config, "config", defaultConfigPath, "configuration file")
	base := defaults()
	for _, s := range settings() {
		flags.String(s.flag(), s.get(&base), s.help)
	}
}

// load puts the configuration together: defaults, file, drop-ins, environment,
// flags.
func (o *options) load(flags *pflag.FlagSet) (*sourced, error) {
	c, err := loadConfig(o.config, flags.Changed("config"), os.Environ())
	if err != nil {
		return nil, err
	}
	for _, s := range settings() {
		if !flags.Changed(s.flag()) {
			continue
		}
		value, err := flags.GetString(s.flag())
		if err != nil {
			return nil, err
		}
		if err := c.set(s, value, "flag --"+s.flag()); err != nil {
			return nil, err
		}
	}
	return c, c.check()
}
