package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/clusterd/clusterd/functional/lab"
	"github.com/clusterd/clusterd/registry/api"
)

// newLab builds the commands that boot machines on this host.
func newLab(p *program) *cobra.Command {
	l := &labProgram{program: p}
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Boot machines on this host and make a cluster of them",
		Long: `Boot machines on this host, each with systemd as its process 1, on a network of
their own, and make a cluster of them. Needs root. The host's network, services
and files stay as they are.`,
		Example: `  clusterctl lab up --machines 3
  clusterctl lab shell m1 -- systemctl status clusterd
  clusterctl lab down`,
	}
	cmd.PersistentFlags().StringVar(&l.name, "name", "", "which lab, when there are several on this host (env CLUSTERD_LAB; default "+lab.DefaultName+")")
	cmd.AddCommand(l.up(), l.add(), l.start(), l.kill(), l.partition(), l.heal(), l.pause(), l.resume(), l.shell(), l.status(), l.down(), l.helper())
	return asGroup(cmd)
}

type labProgram struct {
	*program
	name string
}

func (l *labProgram) labName() string {
	if l.name != "" {
		return l.name
	}
	return l.getenv("CLUSTERD_LAB")
}

func (l *labProgram) open() (*lab.Lab, error) {
	opened, err := lab.Open(l.labName(), l.stderr)
	return opened, labError(err)
}

// labError gives the lab's errors their exit codes.
func labError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, lab.ErrNotRoot):
		return failure(api.ExitRefused, "%v", err)
	case errors.Is(err, lab.ErrOption):
		return failure(api.ExitUsage, "%v", err)
	case errors.Is(err, lab.ErrNoMachine):
		return failure(api.ExitUnknown, "%v", err)
	}
	return err
}

func (l *labProgram) up() *cobra.Command {
	var o lab.Options
	cmd := &cobra.Command{
		Use:     "up",
		Short:   "Boot a lab",
		Example: "  clusterctl lab up --machines 3",
		Args:    withArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Name, o.Progress = l.labName(), l.stderr
			if o.Bin == "" {
				self, err := os.Executable()
				if err != nil {
					return err
				}
				o.Bin = filepath.Dir(self)
			}
			if o.Machines < 1 {
				return usageError("lab up: --machines=%d: a lab has at least one", o.Machines)
			}
			_, err := lab.Up(cmd.Context(), o)
			if errors.Is(err, lab.ErrExists) {
				l.note("%v", err)
				if err := l.list(l.stderr); err != nil {
					return err
				}
				return exitStatus(api.ExitFailed)
			}
			return labError(err)
		},
	}
	cmd.Flags().IntVar(&o.Machines, "machines", 3, "how many machines to boot")
	cmd.Flags().StringVar(&o.Bin, "bin", "", "directory with clusterd, clusterctl, nsrun and its kin (default: where this program lies)")
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "leave a lab that did not come up as it is, to be looked into")
	cmd.Flags().BoolVar(&o.Bare, "bare", false, "boot the machines only, form no cluster of them")
	return cmd
}

func (l *labProgram) add() *cobra.Command {
	return &cobra.Command{
		Use:     "add",
		Short:   "Boot one more machine and let it join",
		Example: "  clusterctl lab add",
		Args:    withArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			opened, err := l.open()
			if err != nil {
				return err
			}
			machine, err := opened.Add(cmd.Context())
			if err != nil {
				return labError(err)
			}
			_, err = fmt.Fprintln(l.stdout, machine)
			return err
		},
	}
}

func (l *labProgram) start() *cobra.Command {
	return &cobra.Command{
		Use:     "start MACHINE...",
		Short:   "Boot machines that are off",
		Example: "  clusterctl lab start m2",
		Args:    withArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return l.forEach(args, func(opened *lab.Lab, machine string) error {
				return opened.Start(cmd.Context(), machine)
			})
		},
	}
}

func (l *labProgram) kill() *cobra.Command {
	return &cobra.Command{
		Use:     "kill MACHINE...",
		Short:   "Cut the power of machines",
		Example: "  clusterctl lab kill m2",
		Args:    withArgs(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			return l.forEach(args, (*lab.Lab).Kill)
		},
	}
}

func (l *labProgram) partition() *cobra.Command {
	return &cobra.Command{
		Use:     "partition MACHINE...",
		Short:   "Cut machines off from all others",
		Long:    "Cut the machines off from all others; among themselves they reach each other. Replaces an earlier partition.",
		Example: "  clusterctl lab partition m1",
		Args:    withArgs(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			opened, err := l.open()
			if err != nil {
				return err
			}
			return labError(opened.Partition(args...))
		},
	}
}

func (l *labProgram) heal() *cobra.Command {
	return &cobra.Command{
		Use:     "heal",
		Short:   "End a partition",
		Example: "  clusterctl lab heal",
		Args:    withArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			opened, err := l.open()
			if err != nil {
				return err
			}
			return labError(opened.Heal())
		},
	}
}

func (l *labProgram) pause() *cobra.Command {
	return &cobra.Command{
		Use:     "pause MACHINE...",
		Short:   "Stop every process of machines where it is",
		Example: "  clusterctl lab pause m1",
		Args:    withArgs(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			return l.forEach(args, (*lab.Lab).Pause)
		},
	}
}

func (l *labProgram) resume() *cobra.Command {
	return &cobra.Command{
		Use:     "resume MACHINE...",
		Short:   "Let paused machines go on",
		Example: "  clusterctl lab resume m1",
		Args:    withArgs(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			return l.forEach(args, (*lab.Lab).Resume)
		},
	}
}

func (l *labProgram) forEach(machines []string, f func(*lab.Lab, string) error) error {
	opened, err := l.open()
	if err != nil {
		return err
	}
	for _, m := range machines {
		if err := f(opened, m); err != nil {
			return labError(err)
		}
	}
	return nil
}

func (l *labProgram) shell() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "shell MACHINE [-- COMMAND...]",
		Short: "Run a command or a shell on a machine, as root",
		Long:  "Run a command on a machine as root, or without one an interactive shell. Exits with the command's own code.",
		Example: `  clusterctl lab shell m1
  clusterctl lab shell m1 -- journalctl -u clusterd`,
		Args: withArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			opened, err := l.open()
			if err != nil {
				return err
			}
			argv := args[1:]
			if len(argv) > 0 && argv[0] == "--" {
				argv = argv[1:]
			}
			code, err := opened.Shell(cmd.Context(), args[0], argv, os.Stdin, l.stdout, l.stderr)
			if err != nil {
				return labError(err)
			}
			if code != 0 {
				return exitStatus(code)
			}
			return nil
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func (l *labProgram) status() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "List the lab's machines",
		Example: "  clusterctl lab status",
		Args:    withArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if output != "" && output != "json" {
				return usageError("lab status: --output=%s is unknown; only json is", output)
			}
			if output == "" {
				return l.list(l.stdout)
			}
			machines, err := l.machines()
			if err != nil {
				return err
			}
			return json.NewEncoder(l.stdout).Encode(machines)
		},
	}
	cmd.Flags().StringVar(&output, "output", "", "json for scripts")
	return cmd
}

func (l *labProgram) machines() ([]lab.Machine, error) {
	opened, err := l.open()
	if err != nil {
		return nil, err
	}
	machines, err := opened.Status()
	return machines, labError(err)
}

// list prints the lab's machines as a table.
func (l *labProgram) list(out io.Writer) error {
	machines, err := l.machines()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MACHINE\tSTATE\tADDRESS\tPID\tBOOTS\tMACHINE-ID")
	for _, m := range machines {
		pid := "-"
		if m.PID > 0 {
			pid = fmt.Sprint(m.PID)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", m.Name, m.State, m.Address, pid, m.Boots, m.MachineID)
	}
	return w.Flush()
}

func (l *labProgram) down() *cobra.Command {
	return &cobra.Command{
		Use:     "down",
		Short:   "Remove the lab and all that belongs to it",
		Example: "  clusterctl lab down",
		Args:    withArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			found, err := lab.Down(l.labName())
			if err == nil && !found {
				l.note("there is no lab to take down")
			}
			return labError(err)
		},
	}
}

// helper is how the lab starts its own processes.
func (l *labProgram) helper() *cobra.Command {
	return &cobra.Command{
		Use:    lab.HelperCommand,
		Hidden: true,
		RunE: func(_ *cobra.Command, args []string) error {
			return lab.Helper(args, l.stdout)
		},
	}
}
