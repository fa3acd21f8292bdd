// Package container turns a unit with a [Container] section, keys as in podman's
// Quadlet, into the service that systemd runs: hooks around nsrun run.
//
// [Render] keeps the user's text as it stands, line by line, names the section
// [X-Container], which systemd skips, and puts what it stands for below. So a
// line systemd complains about is the user's own, and [Rendered.Lines] knows
// the key behind each of the others. A key that nsrun can't serve is an error that
// names the way there is; nothing is left out silently.
//
// Specifiers (%i) and variables (${X}, from [Service] Environment=) are
// replaced in every value, as Quadlet has it, since systemd replaces them in
// the command that comes of it: write %% and $$ for the signs themselves. What
// limits the container becomes a setting of the service (Memory= MemoryMax=),
// for its cgroup is the unit's own.
//
// [Load] is for whoever asks what such a unit runs or needs: its limits and ports
// are those of the rendered text.
//
// [Convert] and [New] make such a unit of a docker run command line.
//
// The package is pure. The registry keeps the user's bytes; agents render them
// when they write a unit for systemd.
package container
