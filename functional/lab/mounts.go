package lab

import (
	"fmt"
	"os"
	"strings"
)

// mount is one line of /proc/self/mountinfo, as far as the lab needs it.
type mount struct {
	Point, Type, SuperOptions string
}

func readMounts() ([]mount, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	return parseMounts(string(text)), nil
}

// parseMounts reads proc_pid_mountinfo(5); lines it can't read are left out.
func parseMounts(text string) []mount {
	var mounts []mount
	for _, line := range strings.Split(text, "\n") {
		left, right, ok := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 6 || len(r) < 3 {
			continue
		}
		mounts = append(mounts, mount{Point: unescape(l[4]), Type: r[0], SuperOptions: r[2]})
	}
	return mounts
}

// unescape undoes the octal escapes of the mount table.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
