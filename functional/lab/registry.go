package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/functional/lab/ociregistry"
)

// busybox is what Debian's busybox-static installs.
const busybox = "/bin/busybox"

const registryReady = "ready"

// registryLimit bounds how long the registry may take to begin.
const registryLimit = 30 * time.Second

func (p places) registryLog() string { return filepath.Join(p.dir, "registry.log") }

// startRegistry starts the lab's image registry beside the machines: in the
// lab's network namespace and a cgroup of its own, nobody's child.
func (p places) startRegistry(ctx context.Context) error {
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	group := p.cgroup + "/registry"
	if err := makeCgroup(hs, group); err != nil {
		return err
	}
	log, err := os.OpenFile(p.registryLog(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	ready, readyWrite, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	cmd := exec.Command(p.program("clusterctl"), "lab", HelperCommand, "registry", p.name)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = "/", []string{"PATH=" + machinePath}, readyWrite, log
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	err = startIn(hs, group, cmd, func() error { return enterNetns(p.netnsPath()) })
	readyWrite.Close()
	if err != nil {
		return fmt.Errorf("start the image registry: %w", err)
	}
	go func() { _ = cmd.Wait() }() // should it end before we do
	ctx, cancel := context.WithTimeout(ctx, registryLimit)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Now()) })()
	if line, err := bufio.NewReader(ready).ReadString('\n'); strings.TrimSpace(line) != registryReady {
		said, _ := os.ReadFile(p.registryLog())
		return fmt.Errorf("start the image registry: %w: %s", err, strings.TrimSpace(string(said)))
	}
	return nil
}

// serveRegistry is the registry's process. It ends with the lab.
func (p places) serveRegistry(stdout io.Writer) error {
	listener, err := net.Listen("tcp", net.JoinHostPort(gateway, registryPort))
	if err != nil {
		return err
	}
	seed := busybox
	if !exists(seed) {
		fmt.Fprintf(os.Stderr, "no %s: the registry begins without a busybox image; install busybox-static\n", busybox)
		seed = ""
	}
	return ociregistry.Serve(context.Background(), ociregistry.Config{
		Listener: listener,
		Dir:      filepath.Join(p.dir, "registry"),
		Names:    []string{registryName, gateway},
		CAFile:   filepath.Join(p.layer(), "etc/nsrun/registry-ca.crt"),
		Busybox:  seed,
		Ready:    func() { fmt.Fprintln(stdout, registryReady) },
	})
}
