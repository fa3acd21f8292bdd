//go:build lean

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// verbs are the commands by which containers start and end. All others are those
// of nsrun-full, which is this program built whole.
func verbs() []verb {
	return []verb{
		{"run", "", (*app).run},
		{"exec", "", (*app).exec},
		{"stop", "", (*app).stop},
		{"kill", "", (*app).kill},
		{"rm", "", (*app).rm},
		{"cleanup", "", (*app).cleanup},
	}
}

const whole = "nsrun-full"

// otherwise has the whole program do it.
func (a *app) otherwise(name string, args []string) int {
	program, err := sibling(whole)
	if err == nil {
		err = syscall.Exec(program, append([]string{a.name, name}, args...), os.Environ())
		err = fmt.Errorf("run %s: %w", program, err)
	}
	return a.exitCode(name, err)
}

// profiles has the whole program compile a system call profile.
func (a *app) profiles(file string, caps uint64) (string, error) {
	program, err := sibling(whole)
	if err != nil {
		return "", err
	}
	var out, said bytes.Buffer
	ask := exec.Command(program, profileVerb, strconv.FormatUint(caps, 16), file)
	ask.Stdout, ask.Stderr = &out, &said
	if err := ask.Run(); err != nil {
		return "", errors.New(strings.TrimPrefix(strings.TrimSpace(said.String()), a.name+": "+profileVerb+": "))
	}
	return strings.TrimSpace(out.String()), nil
}
