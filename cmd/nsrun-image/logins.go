package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// logins is docker's file of logins: what is not ours in it stays as it is.
type logins struct {
	path    string
	config  map[string]json.RawMessage
	auths   map[string]json.RawMessage
	helpers map[string]string // programs that keep logins, by registry
	store   string            // the one for all others; "": this file
}

func readLogins() (*logins, error) {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, err
		}
		dir = filepath.Join(home, ".docker")
	}
	l := &logins{path: filepath.Join(dir, "config.json"), config: map[string]json.RawMessage{}, auths: map[string]json.RawMessage{}}
	if real, err := filepath.EvalSymlinks(l.path); err == nil {
		l.path = real
	}
	data, err := os.ReadFile(l.path)
	if err == nil {
		err = json.Unmarshal(data, &l.config)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", l.path, err)
	}
	for key, at := range map[string]any{"auths": &l.auths, "credHelpers": &l.helpers, "credsStore": &l.store} {
		if raw := l.config[key]; raw != nil {
			if err := json.Unmarshal(raw, at); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", l.path, key, err)
			}
		}
	}
	if l.auths == nil {
		l.auths = map[string]json.RawMessage{}
	}
	return l, nil
}

// helper is the program that keeps the login for key, "" being none.
func (l *logins) helper(key string) string {
	if h := l.helpers[key]; h != "" {
		return h
	}
	return l.store
}

// write puts the file in its place, readable by its owner only.
func (l *logins) write() error {
	var err error
	if l.config["auths"], err = json.Marshal(l.auths); err != nil {
		return err
	}
	data, err := json.MarshalIndent(l.config, "", "\t")
	if err != nil {
		return err
	}
	dir := filepath.Dir(l.path)
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
	return os.Rename(tmp.Name(), l.path)
}

// keepLogin keeps a login where docker would.
func keepLogin(ctx context.Context, key, user, password string) error {
	l, err := readLogins()
	if err != nil {
		return err
	}
	if h := l.helper(key); h != "" {
		in, err := json.Marshal(map[string]string{"ServerURL": key, "Username": user, "Secret": password})
		if err != nil {
			return err
		}
		if err := credentialProgram(ctx, h, "store", in); err != nil {
			return err
		}
		l.auths[key] = json.RawMessage("{}")
		return l.write()
	}
	auth, err := json.Marshal(map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(user + ":" + password))})
	if err != nil {
		return err
	}
	l.auths[key] = auth
	return l.write()
}

// dropLogin forgets it.
func dropLogin(ctx context.Context, key string) error {
	l, err := readLogins()
	if err != nil {
		return err
	}
	if h := l.helper(key); h != "" {
		if err := credentialProgram(ctx, h, "erase", []byte(key)); err != nil {
			return err
		}
	}
	if _, known := l.auths[key]; !known {
		return nil
	}
	delete(l.auths, key)
	return l.write()
}

// credentialProgram has docker-credential-NAME store or erase a login. What it
// prints is not passed on when it could be the secret.
func credentialProgram(ctx context.Context, name, verb string, in []byte) error {
	if strings.ContainsAny(name, "/\\") {
		return fmt.Errorf("%q is no name of a credential helper", name)
	}
	program := "docker-credential-" + name
	cmd := exec.CommandContext(ctx, program, verb)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("docker's config.json leaves logins to %s, which is not in PATH; install it, or take credsStore and credHelpers out", program)
	}
	if err != nil {
		text := strings.TrimSpace(string(out))
		if bytes.Contains(in, []byte("Secret")) {
			text = "what it said may be secret"
		}
		return fmt.Errorf("%s %s: %w: %s", program, verb, err, text)
	}
	return nil
}
