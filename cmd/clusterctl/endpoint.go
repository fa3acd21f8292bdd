package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/clusterd/clusterd/functional/lab"
	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/registry/pki"
	"github.com/clusterd/clusterd/unit"
)

const (
	defaultSocket = "/run/clusterd/clusterd.sock"
	labRun        = "/run/clusterd-lab" // one directory for each machine of the lab
	systemConfig  = "/etc/clusterd/clusterctl.conf"
)

// connection is how to reach a cluster. Empty fields are not said.
type connection struct {
	Endpoint string // one or more, separated by commas
	Cert     string // PEM file
	Key      string // PEM file
	CA       string // PEM file
	config   string // the configuration file, when a flag names one
}

func (c *connection) addFlags(flags *pflag.FlagSet) {
	flags.SortFlags = false
	flags.StringVar(&c.Endpoint, "endpoint", "", "where the cluster answers: unix:///path or https://host:7421, several separated by commas (env CLUSTERCTL_ENDPOINT)")
	flags.StringVar(&c.Cert, "cert", "", "file with the certificate to show an https endpoint (env CLUSTERCTL_CERT)")
	flags.StringVar(&c.Key, "key", "", "file with the certificate's key (env CLUSTERCTL_KEY)")
	flags.StringVar(&c.CA, "ca", "", "file with the cluster's CA certificate (env CLUSTERCTL_CA)")
	flags.StringVar(&c.config, "config", "", "configuration file (env CLUSTERCTL_CONFIG; default ~/.config/clusterctl/config, then "+systemConfig+")")
}

// fields are the connection's settings by their name in the configuration file
// and, in capitals, in the environment.
func (c *connection) fields() map[string]*string {
	return map[string]*string{"Endpoint": &c.Endpoint, "Cert": &c.Cert, "Key": &c.Key, "CA": &c.CA}
}

// client returns a client for the cluster that flags, environment, file or
// default name, in this order.
func (p *program) client() (*api.Client, error) {
	c, err := p.resolve()
	if err != nil {
		return nil, err
	}
	var config *tls.Config
	if c.Cert != "" || c.Key != "" || c.CA != "" {
		if c.Cert == "" || c.Key == "" || c.CA == "" {
			return nil, usageError("connect: certificate, key and CA go together; give all of --cert, --key and --ca")
		}
		credentials, err := pki.ReadCredentials(c.CA, c.Cert, c.Key)
		if err != nil {
			return nil, failure(api.ExitUsage, "connect: %v", err)
		}
		config = credentials.ClientTLS()
	}
	return api.Dial(c.Endpoint, config)
}

func (p *program) resolve() (connection, error) {
	c := p.connection
	for key, field := range c.fields() {
		if *field == "" {
			*field = p.getenv("CLUSTERCTL_" + strings.ToUpper(key))
		}
	}
	if err := p.readConfig(&c); err != nil {
		return c, err
	}
	if c.Endpoint == "" {
		c.Endpoint = "unix://" + defaultSocket
		if _, err := os.Stat(defaultSocket); errors.Is(err, fs.ErrNotExist) {
			switch sockets := p.labSockets(); {
			case len(sockets) > 0:
				p.note("context: lab")
				c.Endpoint = "unix://" + strings.Join(sockets, ",unix://")
			case p.getenv("CLUSTERD_LAB") != "":
				return c, failure(api.ExitNoAnswer, "connect: no machine of lab %s is up; boot them with clusterctl lab up, or unset CLUSTERD_LAB", p.getenv("CLUSTERD_LAB"))
			}
		}
	}
	return c, nil
}

// labSockets are the sockets of the machines of the lab on this host, or of the
// one that CLUSTERD_LAB names.
func (p *program) labSockets() []string {
	dir := labRun
	if name := p.getenv("CLUSTERD_LAB"); name != "" && name != lab.DefaultName {
		dir += "-" + name
	}
	sockets, _ := filepath.Glob(filepath.Join(dir, "*", "clusterd.sock"))
	return sockets
}

// readConfig fills what c does not say from the configuration file. A file
// that flag or environment name must be there.
func (p *program) readConfig(c *connection) error {
	named := c.config
	if named == "" {
		named = p.getenv("CLUSTERCTL_CONFIG")
	}
	files := []string{named}
	if named == "" {
		files = []string{systemConfig}
		if dir := p.configHome(); dir != "" {
			files = []string{filepath.Join(dir, "clusterctl", "config"), systemConfig}
		}
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) && named == "" {
			continue
		}
		if err != nil {
			return usageError("read configuration: %v; name another with --config", err)
		}
		if err := mergeConfig(c, file, text); err != nil {
			return failure(api.ExitUsage, "read configuration: %v", err)
		}
	}
	return nil
}

func (p *program) configHome() string {
	if dir := p.getenv("XDG_CONFIG_HOME"); dir != "" {
		return dir
	}
	if home := p.getenv("HOME"); home != "" {
		return filepath.Join(home, ".config")
	}
	return ""
}

// mergeConfig fills what c does not say from a file's text, in the form of
// systemd's own configuration: Endpoint=, Cert=, Key= and CA= in [Cluster].
func mergeConfig(c *connection, file string, text []byte) error {
	f, err := unit.Parse(file, text)
	if err != nil {
		return err
	}
	fields := c.fields()
	for _, section := range f.Sections() {
		for _, key := range f.Keys(section) {
			field, known := fields[key]
			v, set := f.Last(section, key)
			switch {
			case section != "Cluster" || !known:
				line := v.Line
				return fmt.Errorf("%s:%d: [%s] %s= is unknown; [Cluster] takes %s", file, line, section, key, settingsOf(fields))
			case set && *field == "":
				*field = v.Text
			}
		}
	}
	return nil
}

func settingsOf(fields map[string]*string) string {
	var names []string
	for key := range fields {
		names = append(names, key+"=")
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
