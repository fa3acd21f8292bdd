package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/image"
)

// image finds the image to run; one that isn't here is pulled, as docker does. What
// the machine's policy refuses is not even looked for.
func (a *app) image(o *runOptions) (*image.Image, error) {
	if err := o.checkPull(); err != nil {
		return nil, err
	}
	policy, err := image.LoadPolicy(settingsFile(image.PolicyFile))
	if err != nil {
		return nil, err
	}
	if image.IsPlace(o.spec.Image) {
		return a.imageOfPlace(o, policy)
	}
	ref, err := image.ParseReference(o.spec.Image)
	if err != nil {
		return nil, err
	}
	if o.pull != "always" || o.explain {
		img, err := a.store.Find(o.spec.Image)
		if err == nil && o.platform != "" && !img.Platform.Fits(o.wanted) {
			err = fmt.Errorf("image %s: %w for %s, only for %s; pull it: nsrun pull --platform %s %s", o.spec.Image, image.ErrNoImage, o.wanted, img.Platform, o.wanted, o.spec.Image)
		}
		if err == nil && byID(o.spec.Image, img) {
			if ref, err = image.ParseReference(img.Ref); err != nil {
				return nil, err
			}
			ref.Digest = img.Digest // an id pins an image, too
		}
		if refused := policy.Admit(ref, o.pinned); refused != nil {
			return nil, fmt.Errorf("image %s: %w", o.spec.Image, refused)
		}
		if !errors.Is(err, image.ErrNoImage) || o.explain || o.pull == "never" {
			return img, err
		}
	}
	if err := policy.Admit(ref, o.pinned); err != nil {
		return nil, fmt.Errorf("image %s: %w", o.spec.Image, err)
	}
	if _, err := a.pull(o, false); err != nil {
		return nil, err
	}
	img, err := a.store.Resolve(o.spec.Image)
	if err == nil && o.platform != "" && !img.Platform.Fits(o.wanted) {
		return nil, fmt.Errorf("image %s: there is none for --platform=%s, only for %s", o.spec.Image, o.wanted, img.Platform)
	}
	return img, err
}

// byID says whether img was found by its id.
func byID(name string, img *image.Image) bool {
	return strings.HasPrefix(img.ConfigID.Hex(), strings.TrimPrefix(name, "sha256:"))
}

// checkPull reads --pull and --platform.
func (o *runOptions) checkPull() (err error) {
	switch o.pull {
	case "", "missing", "always", "never":
	default:
		return usageError{fmt.Errorf("--pull=%s: there are missing, always and never", o.pull)}
	}
	if o.platform != "" {
		if o.wanted, err = image.ParsePlatform(o.platform); err != nil {
			return usageError{fmt.Errorf("--platform: %w", err)}
		}
	}
	return nil
}

// imageOfPlace loads the image of an archive or a layout unless it is here. It is read
// each time: a file may be another one by now.
func (a *app) imageOfPlace(o *runOptions, policy *image.Policy) (*image.Image, error) {
	switch {
	case o.explain || o.pull == "never":
		return nil, usageError{fmt.Errorf("%s: a file is read to know what is in it, which --explain and --pull=never forbid; load it first (nsrun load), and name the image", o.spec.Image)}
	case policy.RequireDigest || o.pinned:
		return nil, fmt.Errorf("image %s: %w", o.spec.Image, policy.CheckPinned(image.Reference{Registry: "docker.io", Repository: "NAME"}, o.pinned))
	}
	name, err := a.pull(o, true)
	if err != nil {
		return nil, err
	}
	return a.store.Resolve(name)
}

// pull has nsrun-image pull the image, quietly if only its name is wanted.
func (a *app) pull(o *runOptions, quiet bool) (name string, err error) {
	program, err := imageProgram()
	if err != nil {
		return "", err
	}
	args := []string{"--root", a.store.Dir(), "pull"}
	if o.platform != "" {
		args = append(args, "--platform", o.platform)
	}
	var out bytes.Buffer
	cmd := exec.Command(program, append(args, o.spec.Image)...)
	cmd.Args[0] = a.name
	cmd.Stdout, cmd.Stderr = a.stderr, a.stderr
	if quiet || o.quiet {
		cmd.Args = append(cmd.Args, "--quiet")
		cmd.Stdout = &out
	}
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("pull %s: %w", o.spec.Image, err)
	}
	return strings.TrimSpace(out.String()), nil
}

// settingsFile is where a file of settings is: NSRUN_CONF names another
// directory for all of them.
func settingsFile(path string) string {
	if dir := os.Getenv("NSRUN_CONF"); dir != "" {
		return filepath.Join(dir, filepath.Base(path))
	}
	return path
}

// leases ties containers to the image store.
type leases struct {
	store *image.Store
	img   *image.Image // what Hold holds
}

func (l leases) Hold(holder string) error {
	return l.store.Hold(context.Background(), holder, l.img)
}

func (l leases) Release(holder string) error { return l.store.Release(holder) }

func (l leases) Holders() ([]string, error) { return l.store.Holders() }

// imageVerb hands a verb over to nsrun-image.
func imageVerb(verb string) func(*app, []string) error {
	return func(a *app, args []string) error {
		program, err := imageProgram()
		if err != nil {
			return err
		}
		return fmt.Errorf("run %s: %w", program, syscall.Exec(program, append([]string{a.name, "--root", a.dir.Images(), verb}, args...), os.Environ()))
	}
}

func imageProgram() (string, error) { return sibling("nsrun-image") }

// sibling finds a program of ours: beside this very one, or in PATH.
func sibling(name string) (string, error) {
	if self, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(self); err == nil {
			beside := filepath.Join(filepath.Dir(real), name)
			if unix.Access(beside, unix.X_OK) == nil {
				return beside, nil
			}
		}
	}
	program, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("find %s: not beside nsrun and not in PATH; install it there", name)
	}
	return program, nil
}
