package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const rootLong = `clusterctl hands systemd units to a cluster of machines and shows what became of them.

Exit codes: 0 done, 1 failed, 2 wrong flag, argument or unit file, 3 unit not active,
4 no such unit or machine, 5 refused, 6 not placeable, 7 registry did not answer,
124 waited too long, 130 interrupted.`

// newRoot builds the command tree.
func newRoot(p *program) *cobra.Command {
	root := &cobra.Command{
		Use:   "clusterctl",
		Short: "Run systemd units on a cluster of machines",
		Long:  rootLong,
		Example: `  clusterctl start ./busybox.service    submit, place and start a unit
  clusterctl list-units                 where units are and how they do
  clusterctl journal -f busybox         what it prints`,
		Version:           version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetVersionTemplate("clusterctl {{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	shortenUsage(root)
	p.connection.addFlags(root.PersistentFlags())
	root.AddGroup(&cobra.Group{ID: "units", Title: "Units:"}, &cobra.Group{ID: "look", Title: "Look:"}, &cobra.Group{ID: "cluster", Title: "Cluster:"})
	addGroup(root, "units", newSubmit(p), newLoad(p), newStart(p), newRun(p), newStop(p), newRestart(p), newUnload(p), newDestroy(p), newScale(p), newMove(p))
	addGroup(root, "look", newListUnits(p), newListUnitFiles(p), newListMachines(p), newCat(p), newStatus(p), newExplain(p), newSimulate(p), newPlan(p), newJournal(p), newVerify(p), newConvert(p))
	addGroup(root, "cluster", newMachine(p), newToken(p), newLab(p))
	root.AddCommand(newVersion(p))
	root.SetHelpCommand(newHelp())
	asGroup(root)
	return root
}

// shortenUsage leaves the flags that say where the cluster is out of the
// commands' help, where they would be longer than the rest.
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
		if group := cmd.GroupID; group == "units" || group == "look" {
			fmt.Fprintln(cmd.OutOrStderr(), "\nHow to reach a cluster that is elsewhere (--endpoint and others): clusterctl --help")
		}
		return err
	})
}

func addGroup(root *cobra.Command, id string, commands ...*cobra.Command) {
	for _, c := range commands {
		if c != nil {
			c.GroupID = id
			root.AddCommand(c)
		}
	}
}

// asGroup makes a command that only holds others print its help, or say that
// it has no such command.
func asGroup(cmd *cobra.Command) *cobra.Command {
	cmd.SuggestionsMinimumDistance = 2
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		return unknownCommand(cmd, args[0])
	}
	return cmd
}

func unknownCommand(cmd *cobra.Command, name string) error {
	fix := "see " + cmd.CommandPath() + " --help"
	if similar := cmd.SuggestionsFor(name); len(similar) > 0 {
		fix = "did you mean " + strings.Join(similar, " or ") + "?"
	}
	return usageError("%sno command %q; %s", within(cmd), name, fix)
}

// flagError gives errors of flags their exit code and names a similar flag.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	fix := "see " + cmd.CommandPath() + " --help"
	switch {
	case errors.As(err, &invalid):
		err = fmt.Errorf("--%s %s: not what it takes", invalid.GetFlag().Name, invalid.GetValue())
		switch invalid.GetFlag().Value.Type() {
		case "int":
			fix = "give a number"
		case "duration":
			fix = "give a time with its unit, such as 30s or 5m"
		}
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "":
		if similar := similarFlags(cmd, unknown.GetSpecifiedName()); len(similar) > 0 {
			fix = "did you mean --" + strings.Join(similar, " or --") + "?"
		}
	}
	return usageError("%s%v; %s", within(cmd), err, fix)
}

// within names a command before what is wrong with it; the program's own name
// stands before every error anyway.
func within(cmd *cobra.Command) string {
	_, path, _ := strings.Cut(cmd.CommandPath(), " ")
	if path == "" {
		return ""
	}
	return path + ": "
}

// similarFlags compares names of flags as cobra compares those of commands.
func similarFlags(cmd *cobra.Command, name string) []string {
	names := &cobra.Command{SuggestionsMinimumDistance: 2}
	add := func(f *pflag.Flag) {
		if !f.Hidden {
			names.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
		}
	}
	cmd.LocalFlags().VisitAll(add)
	cmd.InheritedFlags().VisitAll(add)
	return names.SuggestionsFor(name)
}

func newVersion(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the name and version of this program",
		Example: "  clusterctl version",
		Args:    withArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(p.stdout, "clusterctl %s\n", version)
			return err
		},
	}
}

func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:     "help [command]",
		Short:   "Explain a command",
		Example: "  clusterctl help start",
		RunE: func(help *cobra.Command, args []string) error {
			cmd, rest, err := help.Root().Find(args)
			if err != nil {
				return err
			}
			if len(rest) > 0 && cmd.HasSubCommands() {
				return unknownCommand(cmd, rest[0])
			}
			cmd.InitDefaultHelpFlag()
			cmd.InitDefaultVersionFlag()
			return cmd.Help()
		},
	}
}
