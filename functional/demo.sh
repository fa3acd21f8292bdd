#!/bin/bash
# Shows the cluster at work: three machines, one unit, one power cut. Run it by
# `make demo`; it needs root and leaves the machines running.
set -euo pipefail
cd "$(dirname "$0")/.."
ctl=bin/clusterctl
begun=$SECONDS

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }
# in_lab MACHINE COMMAND...: the same, run on a machine.
in_lab() { local m=$1; shift; run "$ctl" lab shell "$m" -- "$@"; }
# where UNIT prints the host name of the machine on which UNIT is active.
where() { "$ctl" list-units --no-legend --fields hostname,active "$1" 2>/dev/null | awk '$2 == "active" { print $1 }'; }

if [ "$(id -u)" != 0 ]; then
  echo "make demo boots machines in namespaces of this host; only root can do that. Try: sudo make demo" >&2
  exit 5
fi
if "$ctl" lab status >/dev/null 2>&1; then
  echo "A lab is up already:" >&2
  "$ctl" lab status >&2
  echo "Take it down first: $ctl lab down" >&2
  exit 1
fi

units=functional/testdata

say "Three machines, each with systemd as process 1, become a cluster."
run "$ctl" lab up --machines 3
run "$ctl" list-machines --fields machine,hostname,ip,state,member

say "A unit for systemd that runs a container."
run cat "$units/busybox.service"

say "Hand it to the cluster."
run "$ctl" submit "$units/busybox.service"
run "$ctl" start busybox
run "$ctl" list-units
run "$ctl" status busybox
sleep 2
run "$ctl" journal busybox

m=$(where busybox.service)
say "On $m: the container's first process is systemd's own child, and none of ours is with it."
pid=$("$ctl" lab shell "$m" -- systemctl show --value -p MainPID busybox)
in_lab "$m" systemctl show -p MainPID busybox
in_lab "$m" grep -e Name: -e Pid: -e Uid: "/proc/$pid/status"
in_lab "$m" systemd-cgls --no-pager -l -u busybox.service

say "The same unit as it was written for docker: nsrun answers to that name, too."
run cat "$units/fordocker.service"
run "$ctl" start "$units/fordocker.service"
run "$ctl" list-units

say "Cut the power of $m, where busybox runs."
run "$ctl" lab kill "$m"
cut=$SECONDS
n=
while [ -z "$n" ] || [ "$n" = "$m" ]; do
  if [ $((SECONDS - cut)) -gt 90 ]; then
    echo "busybox.service is active nowhere else after 90 s:" >&2
    "$ctl" list-units >&2
    "$ctl" list-machines >&2
    exit 1
  fi
  printf '.'
  sleep 1
  n=$(where busybox.service)
done
printf '\nAfter %d s it is active on %s:\n' "$((SECONDS - cut))" "$n"
run "$ctl" list-units
run "$ctl" list-machines --fields machine,hostname,ip,state,member

say "That was all, in $((SECONDS - begun)) seconds. The machines go on; try:"
cat <<END
  $ctl lab shell $n               a shell on a machine
  $ctl journal --follow busybox   what the unit prints
  $ctl lab start $m               power for $m again
  $ctl help                       all commands
  $ctl lab down                   the end: nothing of it stays on this host
END
