package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
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
	userFlag := word(flags, "username", "u", "the user is `NAME`")
	passwordFlag := word(flags, "password", "p", "everybody on this machine can see `PASSWORD`; better --password-stdin")
	email := word(flags, "email", "e", "")
	fromStdin := flags.Bool("password-stdin", false, "read the password from standard input")
	rest, err := t.parse(flags, args)
	user, password := *userFlag, *passwordFlag
	if err != nil {
		return err
	}
	host, err := loginHost(rest)
	if err != nil {
		return err
	}
	switch {
	case *fromStdin && password != "":
		return usageError{errors.New("login: --password and --password-stdin: give one of them")}
	case *fromStdin && user == "":
		return usageError{errors.New("login: --password-stdin needs --username")}
	case password != "":
		t.say("login: warning: everybody on this machine can see --password; pipe it in with --password-stdin")
	}
	if *email != "" {
		t.say("login: warning: registries want no --email any more; it is left out")
	}
	in := bufio.NewReader(t.stdin)
	if user == "" {
		fmt.Fprint(t.stderr, "Username: ")
		if user, err = line(in); err != nil {
			return usageError{errors.New("login: no user name; give it with -u")}
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
	if err := keepLogin(ctx, loginKey(host), user, password); err != nil {
		return fmt.Errorf("login: %w", err)
	}
	fmt.Fprintln(t.stdout, "Login Succeeded")
	return nil
}

func (t *tool) logout(ctx context.Context, args []string) error {
	flags := t.flags("logout")
	rest, err := t.parse(flags, args)
	if err != nil {
		return err
	}
	host, err := loginHost(rest)
	if err != nil {
		return err
	}
	if err := dropLogin(ctx, loginKey(host)); err != nil {
		return fmt.Errorf("logout: %w", err)
	}
	fmt.Fprintln(t.stdout, "Removed the login for", host)
	return nil
}

// loginHost returns the registry that is meant: docker.io when none is named. It is no
// image's name: what has neither dot nor port is a host all the same, not a user of docker.io.
func loginHost(args []string) (string, error) {
	switch len(args) {
	case 0:
		return "docker.io", nil
	case 1:
		host, isURL := args[0], false
		for _, scheme := range []string{"https://", "http://"} {
			if rest, ok := strings.CutPrefix(host, scheme); ok {
				host, isURL = rest, true
				break
			}
		}
		host, path, _ := strings.Cut(host, "/")
		switch strings.TrimSuffix(path, "/") {
		case "", "v1", "v2": // as people, and docker's file, write it
		default:
			if !isURL {
				return "", usageError{fmt.Errorf("login: %s: logins are for a whole registry; write its host, %s", args[0], host)}
			}
		}
		host, err := image.ParseHost(host)
		if err != nil {
			return "", usageError{err}
		}
		return host, nil
	}
	return "", usageError{errors.New("more than one registry")}
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
		return "", usageError{errors.New("login: no terminal to ask for the password; pipe it in with --password-stdin")}
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
