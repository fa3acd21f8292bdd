//go:build !lean

package main

import (
	_ "crypto/sha256" // names profiles
	"errors"
	"fmt"
	"strconv"
)

// verbs are the commands, in the order help shows them.
func verbs() []verb {
	return []verb{
		{"run", "run a program in a new container", (*app).run},
		{"exec", "run a program in a container that runs", (*app).exec},
		{"ps", "list containers", (*app).ps},
		{"stop", "ask containers to end, then make them", (*app).stop},
		{"kill", "send containers a signal", (*app).kill},
		{"rm", "remove containers that have ended", (*app).rm},
		{"port", "show where a container's ports are to be had", (*app).port},
		{"logs", "show what a container printed", (*app).logs},
		{"inspect", "tell all about containers or images", (*app).inspect},
		{"wait", "wait until containers end, and print their exit codes", (*app).waitFor},
		{"pull", "fetch an image", imageVerb("pull")},
		{"images", "list images", imageVerb("images")},
		{"rmi", "remove images", imageVerb("rmi")},
		{"load", "bring in the images of an archive", imageVerb("load")},
		{"save", "write images to an archive", imageVerb("save")},
		{"tag", "give an image another name", imageVerb("tag")},
		{"history", "show how an image was made", imageVerb("history")},
		{"login", "keep a registry's password", imageVerb("login")},
		{"logout", "forget a registry's password", imageVerb("logout")},
		{"verify", "check that images are what they were when pulled", imageVerb("verify")},
		{"prune", "remove images that nothing needs: image prune", imageVerb("prune")},
		{"volume", "volumes with names: create, ls, rm, inspect, prune", (*app).volume},
		{"container prune", "remove containers that have ended", (*app).pruneContainers},
		{"system prune", "remove ended containers and images nobody needs", (*app).pruneSystem},
		{"start", "", startAgain("start")},
		{"restart", "", startAgain("restart")},
		{"cleanup", "put right what a stopped unit left", (*app).cleanup},
		{profileVerb, "", (*app).compileProfile},
		{"info", "say what this machine can do", (*app).info},
		{"version", "print name and version", (*app).version},
		{"help", "show this, or a command's flags: help run", (*app).help},
	}
}

// otherwise is what is done when no verb has the name.
func (a *app) otherwise(name string, args []string) int {
	if name == "help" { // asked for behind a verb
		return a.exitCode(name, a.help(args))
	}
	fmt.Fprintf(a.stderr, "%s: %s: %v\n", a.name, name, a.unknown(name))
	return 1
}

// profiles compiles a system call profile.
func (a *app) profiles(file string, caps uint64) (string, error) {
	return a.dir.CompileProfile(file, caps)
}

// compileProfile is profiles for the lean program: it prints the name.
func (a *app) compileProfile(args []string) error {
	if len(args) != 2 {
		return usageError{errors.New("write capabilities and a file")}
	}
	caps, err := strconv.ParseUint(args[0], 16, 64)
	if err != nil {
		return usageError{err}
	}
	name, err := a.dir.CompileProfile(args[1], caps)
	if err == nil {
		fmt.Fprintln(a.stdout, name)
	}
	return err
}
