package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/clusterd/clusterd/agent/image"
)

const (
	aboutRef = "A REF is NAME[:TAG][@DIGEST]; NAME alone is NAME:latest of docker.io.\n"
	aboutID  = "A REF is NAME[:TAG][@DIGEST], or an image's id or the beginning of one.\n"

	aboutPlatform = "take the image for `OS/ARCH[/VARIANT]`, such as linux/arm64, not for this machine"

	exitCodes = "Exit codes: 0 done, 1 failed or refused by policy, 125 wrong usage, 130 interrupted.\n"
)

// verb is one thing the program does, and what its help says.
type verb struct {
	name, args, about string
	more              string // stands below the flags; ends with a newline
	do                func(*tool, context.Context, []string) error
}

func verbs() []verb {
	return []verb{
		{"pull", "REF…", "fetch images, or see that they are up to date",
			aboutRef + "It may be docker-archive:FILE[:REF], oci-archive:FILE[:REF] or oci:DIR[:REF], too.\n" +
				"A pull that was cut off goes on where it was when it is repeated.\n", (*tool).pull},
		{"load", "", "bring in the images of an archive, compressed or not",
			"Archives are docker's or those of an OCI layout. Example: load -i box.tar.gz\n", (*tool).load},
		{"save", "REF…", "write images to an archive", aboutID + "Example: save -o box.tar busybox\n", (*tool).save},
		{"tag", "SRC DST", "give an image another name", "SRC may be an image's id. A DST that is another image's name moves.\n", (*tool).tag},
		{"images", "[NAME[:TAG]]", "list the images that are here",
			"Filters: dangling=true|false, reference=PATTERN, label=NAME[=VALUE], before=REF, since=REF, until=AGE|TIME.\n" +
				"A template has .ID .Repository .Tag .Digest .CreatedSince .CreatedAt .Size.\n", (*tool).images},
		{"inspect", "REF…", "print all that is known of images, as docker does", aboutID, (*tool).inspect},
		{"history", "REF", "print how an image says it was made, the last step first", aboutID, (*tool).history},
		{"rmi", "REF…", "remove images that no container uses", aboutID, (*tool).remove},
		{"prune", "", "remove what no name and no container uses",
			"Filters: until=AGE|TIME (last used before), label=NAME[=VALUE], label!=NAME[=VALUE].\n" +
				"Images that have a name are removed with --all or --keep-storage only, after a question\non a terminal. Example: prune --all --filter until=30d\n", (*tool).prune},
		{"login", "[HOST]", "check a password with a registry and keep it where docker would",
			"HOST is docker.io when it isn't there. What is missing is asked for on a terminal.\nExample: login -u me --password-stdin registry.example:5000 <password\n", (*tool).login},
		{"logout", "[HOST]", "forget a registry's password", "HOST is docker.io when it isn't there.\n", (*tool).logout},
		{"verify", "[REF…]", "compare images, or all that are here, with what was pulled", aboutID, (*tool).verify},
		{"format", "TEMPLATE", "", "", (*tool).format},
		{"version", "", "print name and version", "", (*tool).version},
		{"help", "[VERB]", "print this, or what VERB does", "", (*tool).help},
	}
}

func verbOf(name string) (verb, bool) {
	all := verbs()
	at := slices.IndexFunc(all, func(v verb) bool { return v.name == name })
	if at < 0 {
		return verb{}, false
	}
	return all[at], true
}

// help is for the word; --help behind a verb is [tool.parse]'s.
func (t *tool) help(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return t.helpAll()
	}
	v, ok := verbOf(args[0])
	if !ok {
		return usageError{fmt.Errorf("unknown verb %q", args[0])}
	}
	return v.do(t, ctx, []string{"--help"})
}

// helpAll prints what the program does.
func (t *tool) helpAll() error {
	var out strings.Builder
	fmt.Fprintf(&out, "nsrun-image brings container images to this machine and looks after them.\n\n"+
		"Usage: nsrun-image [--root DIR] [--registries FILE] [--policy FILE] VERB [FLAG…] …\n\nVerbs (VERB --help tells more):\n")
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	for _, v := range verbs() {
		if v.about != "" {
			fmt.Fprintf(w, "  %s\t%s\n", strings.TrimSpace(v.name+" "+v.args), v.about)
		}
	}
	w.Flush()
	fmt.Fprintf(&out, `
Flags:
  --root DIR          where images are kept (default %s; without root ~/.local/share/nsrun/images)
  --registries FILE   which hosts to ask, and how (default %s;
                      without root ~/.config/nsrun/registries.conf goes before that)
  --policy FILE       which images are allowed, and how many are kept (default %s)

NSRUN_CONF names another directory than /etc/nsrun for those files.

%s
Example:
  nsrun-image pull busybox && nsrun-image images
`, image.Dir, image.RegistriesFile, image.PolicyFile, exitCodes)
	_, err := io.WriteString(t.stdout, out.String())
	return err
}

// helpVerb prints what the verb with these flags does.
func (t *tool) helpVerb(flags *flag.FlagSet) error {
	v, ok := verbOf(flags.Name())
	if !ok {
		return t.helpAll()
	}
	var out strings.Builder
	usage := "[FLAG…]"
	if list := flagLines(flags); list == "" {
		usage = ""
	}
	fmt.Fprintf(&out, "Usage: %s\n", strings.Join(strings.Fields(t.name+" "+v.name+" "+usage+" "+v.args), " "))
	if v.about != "" {
		fmt.Fprintf(&out, "\n%s%s.\n", strings.ToUpper(v.about[:1]), v.about[1:])
	}
	if list := flagLines(flags); list != "" {
		fmt.Fprintf(&out, "\nFlags:\n%s", list)
	}
	if v.more != "" {
		fmt.Fprintf(&out, "\n%s", v.more)
	}
	fmt.Fprintf(&out, "\n%s", exitCodes)
	_, err := io.WriteString(t.stdout, out.String())
	return err
}

// flagLines describes flags, one a line: the names of one that has several stand
// together. One that nothing is said about is left out: it is there for old scripts only.
func flagLines(flags *flag.FlagSet) string {
	type line struct{ short, long, arg, about string }
	byValue := map[flag.Value]*line{}
	var all []*line
	flags.VisitAll(func(f *flag.Flag) {
		l := byValue[f.Value]
		if l == nil {
			if f.Usage == "" {
				return
			}
			l = &line{}
			byValue[f.Value], all = l, append(all, l)
		}
		l.arg, l.about = flag.UnquoteUsage(f)
		if isSwitch(f) {
			l.arg = ""
		}
		if len(f.Name) == 1 {
			l.short = "-" + f.Name
		} else {
			l.long = "--" + f.Name
		}
	})
	slices.SortFunc(all, func(a, b *line) int { return cmp.Compare(a.long, b.long) })
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 3, ' ', 0)
	for _, l := range all {
		names := "    " + l.long
		if l.short != "" {
			names = l.short + ", " + l.long
		}
		fmt.Fprintf(w, "  %s\t%s\n", strings.TrimRight(names+" "+l.arg, " "), l.about)
	}
	w.Flush()
	return out.String()
}
