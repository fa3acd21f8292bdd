package registry

import (
	"strconv"
	"strings"
)

// FactSystemd is the key of a machine's facts with the version of its systemd, as
// that says it itself.
const FactSystemd = "systemd"

// SystemdNumber is the number that a version such as "252.38-1~deb12u1" begins
// with; 0 when there is none.
func SystemdNumber(version string) int {
	digits := strings.IndexFunc(version+" ", func(c rune) bool { return c < '0' || c > '9' })
	n, _ := strconv.Atoi(version[:digits])
	return n
}
