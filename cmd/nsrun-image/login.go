package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/image/pull"
)

// hubKey is what Docker Hub's login is called in docker's file, for history's sake.
const hubKey = "https://index.docker.io/v1/"

// login checks a user's password with a registry and keeps it where docker would.
func (t *tool) login(ctx context.Context, args []string) error {
	flags := t.flags("login")
	user, password := "", ""
	flags.StringVar(&user, "u", "", "")
	flags.StringVar(&user, "username", "", "")
	flags.StringVar(&password, "p", "", "")
	flags.StringVar(&password, "password", "", "")
	fromStdin := flags.Bool("password-stdin", false, "")
	rest, err := t.parse(flags, args)
	if err != nil {
		return err
	}
	host, err := loginHost(rest)
	if err != nil {
		return err
	}
	in := bufio.NewReader(t.stdin)
	if user == "" {
		fmt.Fprint(t.stderr, "Username: ")
		if user, err = line(in); err != nil {
			return fmt.Errorf("login: no user name; give it with -u: %w", errUsage)
		}
	}
	if password == "" {
		if password, err = t.password(in, *fromStdin); err != nil {
			return err
		}
	}
	registries, err := image.LoadRegistries(t.registries)
	if err != nil {
		return err
	}
	if err := pull.CheckLogin(ctx, host, user, password, registries); err != nil {
		return fmt.Errorf("login: %w", err)
	}
	auth, err := json.Marshal(map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(user + ":" + password))})
	if err != nil {
		return err
	}
	if err := changeLogins(func(auths map[string]json.RawMessage) { auths[loginKey(host)] = auth }); err != nil {
		return fmt.Errorf("login: %w", err)
	}
	fmt.Fprintln(t.stdout, "Login Succeeded")
	return nil
}

func (t *tool) logout(_ context.Context, args []string) error {
	flags := t.flags("logout")
	rest, err := t.parse(flags, args)
	if err != nil {
		return err
	}
	host, err := loginHost(rest)
	if err != nil {
		return err
	}
	if err := changeLogins(func(auths map[string]json.RawMessage) { delete(auths, loginKey(host)) }); err != nil {
		return fmt.Errorf("logout: %w", err)
	}
	fmt.Fprintln(t.stdout, "Removed the login for", host)
	return nil
}

// loginHost returns the registry that is meant: docker.io when none is named.
func loginHost(args []string) (string, error) {
	switch len(args) {
	case 0:
		return "docker.io", nil
	case 1:
		host := strings.TrimSuffix(strings.TrimPrefix(args[0], "https://"), "/")
		ref, err := image.ParseReference(host + "/x")
		if err != nil {
			return "", err
		}
		return ref.Registry, nil
	}
	return "", fmt.Errorf("more than one registry; %w", errUsage)
}

func loginKey(host string) string {
	if host == "docker.io" {
		return hubKey
	}
	return host
}

func (t *tool) password(in *bufio.Reader, fromStdin bool) (string, error) {
	if file, ok := t.stdin.(*os.File); ok && !fromStdin && term.IsTerminal(int(file.Fd())) {
		fmt.Fprint(t.stderr, "Password: ")
		password, err := term.ReadPassword(int(file.Fd()))
		fmt.Fprintln(t.stderr)
		return string(password), err
	}
	if !fromStdin {
		return "", fmt.Errorf("login: no terminal to ask for the password; pipe it in with --password-stdin: %w", errUsage)
	}
	password, err := line(in)
	if err != nil {
		return "", fmt.Errorf("login: read the password: %w", err)
	}
	return password, nil
}

// line reads up to the end of a line or of the input.
func line(in *bufio.Reader) (string, error) {
	text, err := in.ReadString('\n')
	text = strings.TrimRight(text, "\r\n")
	if text == "" && err != nil {
		return "", err
	}
	return text, nil
}

// changeLogins edits docker's file of logins, leaving all else in it as it is.
func changeLogins(change func(auths map[string]json.RawMessage)) error {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return err
		}
		dir = filepath.Join(home, ".docker")
	}
	path := filepath.Join(dir, "config.json")
	config := map[string]json.RawMessage{}
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &config)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", path, err)
	}
	if store := config["credsStore"]; len(store) > len(`""`) {
		return fmt.Errorf("%s leaves logins to the credential store %s; use that one's program", path, store)
	}
	auths := map[string]json.RawMessage{}
	if raw := config["auths"]; raw != nil {
		if err := json.Unmarshal(raw, &auths); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	change(auths)
	if config["auths"], err = json.Marshal(auths); err != nil {
		return err
	}
	if data, err = json.MarshalIndent(config, "", "\t"); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, "config-") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(append(data, '\n'))
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
