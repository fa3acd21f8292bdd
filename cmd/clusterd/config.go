package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/clusterd/clusterd/registry/etcd"
	"github.com/clusterd/clusterd/unit"
)

// Config is what a clusterd is told: by its file and the file's drop-ins, by
// the environment, by flags, each overriding the one before.
type Config struct {
	Address       string            // IP address the other machines reach this one at; empty: that of the default route
	APIPort       int               // TCP port of the API
	GatePort      int               // TCP port of the gate
	PeerPort      int               // TCP port of the etcd member
	GossipPort    int               // TCP and UDP port of gossip
	DataDir       string            // durable state
	RunDir        string            // socket, lease, what was carried out
	Metadata      map[string]string // this machine's own metadata
	Members       int               // how many etcd members init asks for: 1, 3 or 5
	MachineLease  time.Duration     // how long a silent machine counts as there
	EngineLease   time.Duration     // how long a silent engine leader keeps its lease
	Grace         time.Duration     // how much longer when gossip doesn't agree that it is dead
	AwayLimit     time.Duration     // how long a machine whose clusterd was stopped keeps its units
	LogLevel      slog.Level        //
	OperatorCert  string            // certificate with which a machine that is no control machine forwards operators' calls
	OperatorKey   string            //
	NsrunPath     string            // the nsrun that drop-ins name
	BrakeFraction float64           // share of missing machines past which nothing moves
	EtcdQuotaMiB  int               // how large the embedded etcd may get before it takes no changes
	EtcdEndpoints []string          // host:port of an outside etcd; empty: it is embedded
	EtcdCA        string            // CA of the outside etcd's certificates
	EtcdCert      string            // certificate to show it
	EtcdKey       string            //
	EtcdUser      string            // user of the outside etcd's own; empty: none
	EtcdPassword  string            // file that holds its password
	Control       bool              // with an outside etcd: this is a control machine
	KeyPrefix     string            // under which the cluster's records lie in etcd
}

func defaults() Config {
	return Config{
		APIPort: 7421, GatePort: 7422, PeerPort: 7423, GossipPort: 7424,
		DataDir: "/var/lib/clusterd", RunDir: "/run/clusterd",
		Metadata: map[string]string{}, Members: 3,
		MachineLease: 5 * time.Second, EngineLease: 5 * time.Second,
		Grace: 30 * time.Second, AwayLimit: 15 * time.Minute,
		OperatorCert: "/etc/clusterd/operator.crt", OperatorKey: "/etc/clusterd/operator.key",
		NsrunPath: "/usr/bin/nsrun", BrakeFraction: 0.5, KeyPrefix: etcd.DefaultPrefix,
		EtcdQuotaMiB: etcd.DefaultQuotaBytes >> 20,
	}
}

// setting is one key of the configuration: DataDir in the file is
// CLUSTERD_DATA_DIR in the environment and --data-dir as a flag.
type setting struct {
	key  string
	help string
	set  func(*Config, string) error
	get  func(*Config) string
}

func (s setting) words(join string) string {
	var b strings.Builder
	runes := []rune(s.key)
	for i, r := range runes {
		startsWord := i > 0 && unicode.IsUpper(r) && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if startsWord {
			b.WriteString(join)
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

func (s setting) flag() string { return s.words("-") }
func (s setting) env() string  { return "CLUSTERD_" + strings.ToUpper(s.words("_")) }

func settings() []setting {
	return []setting{
		text("Address", "IP address the other machines reach this one at (default: the default route's)", func(c *Config) *string { return &c.Address }, ipAddress),
		port("APIPort", "TCP port of the API", func(c *Config) *int { return &c.APIPort }),
		port("GatePort", "TCP port of the gate, etcd's API for machines", func(c *Config) *int { return &c.GatePort }),
		port("PeerPort", "TCP port at which etcd members speak to each other", func(c *Config) *int { return &c.PeerPort }),
		port("GossipPort", "TCP and UDP port of gossip", func(c *Config) *int { return &c.GossipPort }),
		text("DataDir", "directory of durable state", func(c *Config) *string { return &c.DataDir }, absolute),
		text("RunDir", "directory of the socket and of state that ends with the boot", func(c *Config) *string { return &c.RunDir }, absolute),
		{
			key: "Metadata", help: "key=value words that units can ask for, such as region=eu disk=ssd",
			set: func(c *Config, v string) error { return setMetadata(c.Metadata, v) },
			get: func(c *Config) string { return joinMetadata(c.Metadata) },
		},
		{
			key: "Members", help: "how many etcd members the cluster is to have: 1, 3 or 5 (clusterd init)",
			set: func(c *Config, v string) (err error) {
				if c.Members, err = strconv.Atoi(v); err != nil || !slices.Contains([]int{1, 3, 5}, c.Members) {
					return fmt.Errorf("%q is not 1, 3 or 5", v)
				}
				return nil
			},
			get: func(c *Config) string { return strconv.Itoa(c.Members) },
		},
		duration("MachineLease", "how long a silent machine counts as there", 2*time.Second, func(c *Config) *time.Duration { return &c.MachineLease }),
		duration("EngineLease", "how long a silent engine leader keeps its lease", 2*time.Second, func(c *Config) *time.Duration { return &c.EngineLease }),
		duration("Grace", "how much longer a silent machine counts as there when gossip doesn't agree", 0, func(c *Config) *time.Duration { return &c.Grace }),
		duration("AwayLimit", "how long a machine whose clusterd was stopped keeps its units", 0, func(c *Config) *time.Duration { return &c.AwayLimit }),
		{
			key: "BrakeFraction", help: "share of missing machines, 0 to 1, past which no unit is moved",
			set: func(c *Config, v string) (err error) {
				if c.BrakeFraction, err = strconv.ParseFloat(v, 64); err != nil || !(c.BrakeFraction > 0 && c.BrakeFraction <= 1) {
					return fmt.Errorf("%q is not a number above 0 and up to 1", v)
				}
				return nil
			},
			get: func(c *Config) string { return strconv.FormatFloat(c.BrakeFraction, 'g', -1, 64) },
		},
		text("OperatorCert", "certificate with which operators' calls are forwarded from a machine that is no control machine", func(c *Config) *string { return &c.OperatorCert }, absolute),
		text("OperatorKey", "key of OperatorCert", func(c *Config) *string { return &c.OperatorKey }, absolute),
		text("NsrunPath", "nsrun as drop-ins of units call it", func(c *Config) *string { return &c.NsrunPath }, absolute),
		{
			key: "EtcdQuotaMiB", help: "MiB up to which the embedded etcd may grow, 16 to 16384; the same on all control machines",
			set: func(c *Config, v string) (err error) {
				if c.EtcdQuotaMiB, err = strconv.Atoi(v); err != nil || c.EtcdQuotaMiB < 16 || c.EtcdQuotaMiB > 16384 {
					return fmt.Errorf("%q is no number from 16 to 16384", v)
				}
				return nil
			},
			get: func(c *Config) string { return strconv.Itoa(c.EtcdQuotaMiB) },
		},
		{
			key: "EtcdEndpoints", help: "host:port of each member of an outside etcd, for control machines; empty: etcd is embedded",
			set: func(c *Config, v string) error {
				c.EtcdEndpoints = strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' })
				for _, e := range c.EtcdEndpoints {
					if _, _, err := net.SplitHostPort(e); err != nil {
						return fmt.Errorf("%q is not host:port", e)
					}
				}
				return nil
			},
			get: func(c *Config) string { return strings.Join(c.EtcdEndpoints, " ") },
		},
		text("EtcdCA", "CA of the outside etcd's certificates", func(c *Config) *string { return &c.EtcdCA }, absolute),
		text("EtcdCert", "certificate to show the outside etcd", func(c *Config) *string { return &c.EtcdCert }, absolute),
		text("EtcdKey", "key of EtcdCert", func(c *Config) *string { return &c.EtcdKey }, absolute),
		text("EtcdUser", "user to log in to the outside etcd as, where it wants one", func(c *Config) *string { return &c.EtcdUser }, anything),
		text("EtcdPasswordFile", "file with the password of EtcdUser, readable by its owner only", func(c *Config) *string { return &c.EtcdPassword }, absolute),
		{
			key: "Control", help: "with an outside etcd: whether this is a control machine",
			set: func(c *Config, v string) error {
				yes, no := []string{"yes", "true", "on", "1"}, []string{"no", "false", "off", "0"}
				if c.Control = slices.Contains(yes, v); !c.Control && !slices.Contains(no, v) {
					return fmt.Errorf("%q is neither yes nor no", v)
				}
				return nil
			},
			get: func(c *Config) string {
				if c.Control {
					return "yes"
				}
				return "no"
			},
		},
		text("KeyPrefix", "prefix of the cluster's records in etcd; clusters that share an etcd differ in it (clusterd init)", func(c *Config) *string { return &c.KeyPrefix }, keyPrefix),
		{
			key: "LogLevel", help: "debug, info, warn or error",
			set: func(c *Config, v string) error {
				if err := c.LogLevel.UnmarshalText([]byte(v)); err != nil {
					return fmt.Errorf("%q is none of debug, info, warn, error", v)
				}
				return nil
			},
			get: func(c *Config) string { return strings.ToLower(c.LogLevel.String()) },
		},
	}
}

func text(key, help string, field func(*Config) *string, check func(string) error) setting {
	return setting{
		key: key, help: help,
		set: func(c *Config, v string) error {
			if err := check(v); err != nil {
				return err
			}
			*field(c) = v
			return nil
		},
		get: func(c *Config) string { return *field(c) },
	}
}

func port(key, help string, field func(*Config) *int) setting {
	return setting{
		key: key, help: help,
		set: func(c *Config, v string) error {
			n, err := strconv.Atoi(v)
			if err != nil || n < 1 || n > 65535 {
				return fmt.Errorf("%q is no port; give a number from 1 to 65535", v)
			}
			*field(c) = n
			return nil
		},
		get: func(c *Config) string { return strconv.Itoa(*field(c)) },
	}
}

func duration(key, help string, least time.Duration, field func(*Config) *time.Duration) setting {
	return setting{
		key: key, help: help,
		set: func(c *Config, v string) error {
			d, err := time.ParseDuration(v)
			if err != nil {
				return fmt.Errorf("%q is no duration; write 5s or 15m", v)
			}
			if d < least {
				return fmt.Errorf("%s is too short; the least is %s", d, least)
			}
			*field(c) = d
			return nil
		},
		get: func(c *Config) string { return field(c).String() },
	}
}

func keyPrefix(v string) error {
	if len(v) < 3 || v[0] != '/' || v[len(v)-1] != '/' {
		return fmt.Errorf("%q does not begin and end with /", v)
	}
	return nil
}

func anything(string) error { return nil }

func absolute(v string) error {
	if v == "" {
		return nil
	}
	if !filepath.IsAbs(v) {
		return fmt.Errorf("%q is no absolute path", v)
	}
	return nil
}

func ipAddress(v string) error {
	if v == "" {
		return nil // the default route's
	}
	if _, err := netip.ParseAddr(v); err != nil {
		return fmt.Errorf("%q is no IP address", v)
	}
	return nil
}

func setMetadata(into map[string]string, words string) error {
	for word := range strings.FieldsSeq(words) {
		k, v, ok := strings.Cut(word, "=")
		if !ok || k == "" {
			return fmt.Errorf("%q is not key=value", word)
		}
		into[k] = v
	}
	return nil
}

func joinMetadata(m map[string]string) string {
	var words []string
	for k, v := range m {
		words = append(words, k+"="+v)
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// sourced is a Config with, for each key, where its value came from.
type sourced struct {
	Config
	from map[string]string
}

// loadConfig reads path, path.d/*.conf and then the environment. A file that
// isn't there is no error unless mustExist; an unknown key is one. All errors
// are returned together.
func loadConfig(path string, mustExist bool, environ []string) (*sourced, error) {
	c := &sourced{Config: defaults(), from: map[string]string{}}
	var errs []error
	dropIns, _ := filepath.Glob(path + ".d/*.conf") // sorted; the pattern is sound
	for i, file := range append([]string{path}, dropIns...) {
		src, err := os.ReadFile(file)
		if i == 0 && !mustExist && errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("read configuration: %w", err))
			continue
		}
		errs = append(errs, c.readFile(file, src)...)
	}
	errs = append(errs, c.readEnvironment(environ)...)
	return c, errors.Join(errs...)
}

// check finds settings that make no sense together.
func (c Config) check() error {
	switch outside := len(c.EtcdEndpoints) > 0; {
	case c.Control && !outside:
		return errors.New("Control= goes with EtcdEndpoints= of an outside etcd; with embedded etcd the cluster chooses its control machines itself")
	case outside && !c.Control:
		return errors.New("EtcdEndpoints= is for control machines: set Control=yes too, or leave both out, since other machines use a control machine's gate")
	case outside && c.EtcdCA == "":
		return errors.New("EtcdEndpoints= needs EtcdCA=: an outside etcd is only spoken to over TLS")
	case (c.EtcdCert == "") != (c.EtcdKey == ""):
		return errors.New("EtcdCert= and EtcdKey= go together")
	case (c.EtcdUser == "") != (c.EtcdPassword == ""):
		return errors.New("EtcdUser= and EtcdPasswordFile= go together")
	case outside && c.EtcdCert == "" && c.EtcdUser == "":
		return errors.New("EtcdEndpoints= needs EtcdCert= and EtcdKey=, or EtcdUser= and EtcdPasswordFile=: an etcd that lets anybody in isn't spoken to")
	case !outside && c.EtcdCA+c.EtcdCert+c.EtcdUser != "":
		return errors.New("EtcdCA=, EtcdCert=, EtcdKey=, EtcdUser= and EtcdPasswordFile= go with EtcdEndpoints= of an outside etcd")
	case c.DataDir == "" || c.RunDir == "":
		return errors.New("DataDir= and RunDir= can't be empty")
	case outside:
		_, err := c.etcdAccess(time.Now())
		return err
	}
	return nil
}

func (c *sourced) readFile(path string, src []byte) (errs []error) {
	if isBlank(src) {
		return nil // as a package installs it, with everything commented out
	}
	file, err := unit.Parse(path, src)
	if err != nil {
		return []error{err}
	}
	known := settings()
	for _, section := range file.Sections() {
		for _, key := range file.Keys(section) {
			for _, v := range file.Values(section, key) {
				where := fmt.Sprintf("%s:%d", path, v.Line)
				i := slices.IndexFunc(known, func(s setting) bool { return s.key == key })
				switch {
				case section != "Clusterd":
					errs = append(errs, fmt.Errorf("%s: section [%s] is unknown; all settings stand in [Clusterd]", where, section))
				case i < 0:
					errs = append(errs, fmt.Errorf("%s: %s= is unknown; clusterd --help lists the settings", where, key))
				default:
					if err := c.set(known[i], v.Text, where); err != nil {
						errs = append(errs, err)
					}
				}
			}
		}
	}
	return errs
}

func isBlank(src []byte) bool {
	for line := range strings.Lines(string(src)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' && line[0] != ';' {
			return false
		}
	}
	return true
}

func (c *sourced) readEnvironment(environ []string) (errs []error) {
	known := settings()
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		i := slices.IndexFunc(known, func(s setting) bool { return s.env() == name })
		if i < 0 {
			continue
		}
		if err := c.set(known[i], value, "environment "+name); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func (c *sourced) set(s setting, value, where string) error {
	if err := s.set(&c.Config, value); err != nil {
		return fmt.Errorf("%s: %s=: %w", where, s.key, err)
	}
	c.from[s.key] = where
	return nil
}

// String lists what is in force and where it came from, one line a key, in a
// form that a configuration file takes.
func (c *sourced) String() string {
	var b strings.Builder
	b.WriteString("[Clusterd]\n")
	for _, s := range settings() {
		from := c.from[s.key]
		if from == "" {
			from = "default"
		}
		fmt.Fprintf(&b, "# %s\n%s=%s\n", from, s.key, s.get(&c.Config))
	}
	return b.String()
}
