package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/unit"
	"github.com/clusterd/clusterd/unit/container"
)

func addAllowUnknown(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("allow-unknown", false, "take sections and keys that systemd doesn't know, and will ignore")
}

// problemsOf checks a local file by itself; what is wrong is said with the
// file's own path. The cluster's machines may know less than the newest
// systemd: that is for the API to find.
func problemsOf(d deployment, allowUnknown bool) []unit.Problem {
	var problems []unit.Problem
	f, err := unit.Parse(string(d.name), d.local)
	switch {
	case err != nil:
		problems = syntaxProblems(err)
	case !container.Has(f) && strings.HasSuffix(d.file, container.Suffix):
		_, err = container.Render(d.name, f)
		problems = syntaxProblems(err)
	default:
		problems = container.Check(d.name, f, unit.CheckOptions{AllowUnknown: allowUnknown})
	}
	for i := range problems {
		problems[i].File = d.file
	}
	return problems
}

// syntaxProblems takes an error of unit.Parse apart.
func syntaxProblems(err error) []unit.Problem {
	var problems []unit.Problem
	for _, e := range separate(err) {
		var s *unit.SyntaxError
		if errors.As(e, &s) {
			problems = append(problems, unit.Problem{SyntaxError: *s})
		}
	}
	return problems
}

// check is the error for a local file that the cluster would refuse. Warnings
// come back from the API.
func check(d deployment, allowUnknown bool) error {
	err := unit.Errors(problemsOf(d, allowUnknown))
	if err == nil {
		return nil
	}
	if unit.Errors(problemsOf(d, true)) == nil {
		err = fmt.Errorf("%w\nif systemd is to ignore that: --allow-unknown", err)
	}
	return failure(api.ExitUsage, "%v", err)
}

// finding is one thing that verify has to say.
type finding struct {
	Text    string `json:"text"` // file:line: what; fix
	Warning bool   `json:"warning,omitempty"`
}

// verified is what verify found in one file.
type verified struct {
	File     string    `json:"file"`
	Unit     unit.Name `json:"unit"`
	OK       bool      `json:"ok"`
	Findings []finding `json:"findings,omitempty"`
}

func (v *verified) add(f finding) {
	v.OK = v.OK && f.Warning
	v.Findings = append(v.Findings, f)
}

func newVerify(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify FILE...",
		Short: "Say what is wrong with unit files, without submitting them",
		Long: `Say what is wrong with unit files, without submitting them.

First they are checked as submit does; then the real systemd-analyze verify looks at those that
passed, on a machine of the cluster, unless --offline is given. A program or another unit that is
not on that machine is only a warning. Exits 2 when any file has an error.`,
		Example: `  clusterctl verify ./busybox.service
  clusterctl verify --offline units/*.service`,
	}
	offline := cmd.Flags().Bool("offline", false, "ask no machine, and no cluster")
	machine := cmd.Flags().String("machine", "", "whose systemd is asked: id or host name (default: one that the unit may come to)")
	output := cmd.Flags().StringP("output", "o", "", "json for scripts")
	allow := addAllowUnknown(cmd)
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usageError("verify: no file given; use it as: %s", cmd.UseLine())
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case *output != "" && *output != "json":
			return usageError("verify: --output=%s is unknown; only json is", *output)
		case *offline && *machine != "":
			return usageError("verify: --offline asks no machine, and --machine names one; take one of them out")
		}
		files, err := filesToVerify(args)
		if err != nil {
			return err
		}
		results := make([]*verified, len(files))
		for i, d := range files {
			results[i] = verifyAlone(d, *allow)
		}
		if !*offline {
			client, err := p.client()
			if err != nil {
				return err
			}
			defer client.Close()
			request := api.VerifyRequest{Machine: registry.MachineID(*machine), AllowUnknown: *allow}
			if err := verifyThere(cmd.Context(), client, request, files, results); err != nil {
				return err
			}
		}
		return p.showVerified(results, *output == "json")
	}
	return cmd
}

func filesToVerify(args []string) ([]deployment, error) {
	var files []deployment
	for _, arg := range args {
		d, err := readDeployment("verify", arg)
		if err == nil && d.local == nil {
			err = usageError("verify %s: no such file; give the path of a unit file", arg)
		}
		if err != nil {
			return nil, err
		}
		files = append(files, d)
	}
	return files, nil
}

// verifyAlone makes our own checks.
func verifyAlone(d deployment, allowUnknown bool) *verified {
	v := &verified{File: d.file, Unit: d.name, OK: true}
	for _, problem := range problemsOf(d, allowUnknown) {
		v.add(finding{problem.Error(), problem.Warning})
	}
	return v
}

// verifyThere has a machine's systemd look at the files that are right so far,
// as many at once as have names of their own.
func verifyThere(ctx context.Context, client *api.Client, request api.VerifyRequest, files []deployment, results []*verified) error {
	var later []int
	at := map[unit.Name]int{}
	for i, d := range files {
		if _, taken := at[d.name]; taken {
			later = append(later, i)
		} else if results[i].OK {
			at[d.name] = i
			request.Files = append(request.Files, api.VerifyFile{Name: d.name, File: d.local})
		}
	}
	if len(at) == 0 {
		return nil
	}
	var said bytes.Buffer
	_, err := client.Verify(ctx, request, &said)
	switch {
	case err != nil && exitCode(err) == api.ExitUsage && len(at) > 1:
		// One of them is something this program's checks don't know, maybe as the
		// cluster's machines have an older systemd.
		half := len(files) / 2
		request.Files = nil
		return errors.Join(verifyThere(ctx, client, request, files[:half], results[:half]),
			verifyThere(ctx, client, request, files[half:], results[half:]))
	case err != nil && exitCode(err) == api.ExitUsage:
		said.WriteString(err.Error())
	case err != nil && exitCode(err) == api.ExitNoAnswer:
		return fmt.Errorf("verify: %w\nto check without a cluster: clusterctl verify --offline", err)
	case err != nil:
		return fmt.Errorf("verify: %w", err)
	}
	for line := range strings.Lines(said.String()) {
		text, warning := strings.CutPrefix(strings.TrimSpace(line), "warning: ")
		for name, i := range at {
			rest, ok := strings.CutPrefix(text, string(name)+":")
			if ok || len(at) == 1 {
				if ok {
					text = files[i].file + ":" + rest
				}
				results[i].add(finding{text, warning})
				break
			}
		}
	}
	request.Files = nil
	for _, i := range later {
		if err := verifyThere(ctx, client, request, files[i:i+1], results[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

// showVerified prints the results, errors and warnings to stderr.
func (p *program) showVerified(results []*verified, asJSON bool) error {
	bad := false
	for _, v := range results {
		bad = bad || !v.OK
		if asJSON {
			continue
		}
		for _, f := range v.Findings {
			if f.Warning {
				p.note("clusterctl: warning: %s", f.Text)
			} else {
				p.note("clusterctl: %s", f.Text)
			}
		}
		if v.OK {
			fmt.Fprintf(p.stdout, "%s: ok\n", v.File)
		}
	}
	if asJSON {
		enc := json.NewEncoder(p.stdout)
		enc.SetIndent("", "  ")
		if err := enc.Encode(results); err != nil {
			return err
		}
	}
	if bad {
		return exitStatus(api.ExitUsage)
	}
	return nil
}
