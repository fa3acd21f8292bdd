package container

import (
	"maps"
	"slices"
	"strings"
)

// didYouMean is the fix for a key that doesn't exist.
func didYouMean(name string, known map[string]key) string {
	best, distance := "", 3 // what needs more changes than two is something else
	for _, k := range slices.Sorted(maps.Keys(known)) {
		if d := changes(strings.ToLower(name), strings.ToLower(k), distance); d < distance {
			best, distance = k, d
		}
	}
	switch other := elsewhere(name); {
	case best != "":
		return "did you mean " + best + "=?"
	case other != "":
		return "did you mean " + other
	}
	return "it takes those of podman's Quadlet; see podman-systemd.unit(5)"
}

// elsewhere names the setting for words that docker and systemd use.
func elsewhere(name string) string {
	words := map[string]string{
		"name": "ContainerName=?", "command": "Exec=?", "cmd": "Exec=?", "args": "Exec=?", "env": "Environment=?", "envfile": "EnvironmentFile=?",
		"port": "PublishPort=?", "ports": "PublishPort=?", "publish": "PublishPort=?", "volumes": "Volume=?", "net": "Network=?", "workdir": "WorkingDir=?",
		"workingdirectory": "WorkingDir=?", "capadd": "AddCapability=?", "capdrop": "DropCapability=?", "init": "RunInit=?", "rm": "leaving it out? Nothing stays of a container that ended",
		"execstart": "Exec=?", "restart": "Restart= in [Service]?", "cpus": "CPUQuota= in [Service]?", "memorymax": "MemoryMax= in [Service]?", "description": "Description= in [Unit]?",
		"after": "After= in [Unit]?", "requires": "Requires= in [Unit]?", "privileged": "AddCapability=, Volume= or UserNS=host? There is no privileged container",
		"restartpolicy": "Restart= in [Service]?", "device": "AddDevice=?", "devices": "AddDevice=?",
	}
	return words[strings.ToLower(strings.ReplaceAll(name, "-", ""))]
}

// changes is how many letters must be put in, taken out, replaced or swapped
// with the next to make b of a; at most limit.
func changes(a, b string, limit int) int {
	if d := len(a) - len(b); d >= limit || -d >= limit {
		return limit
	}
	before, last := []int(nil), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replaced := last[j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			row[j] = min(replaced, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return min(last[len(b)], limit)
}
