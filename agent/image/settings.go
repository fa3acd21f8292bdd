package image

import (
	"fmt"
	"strings"
)

// eachLine calls do for every line of a settings file that says something. An
// error comes back with the line's place.
func eachLine(file string, data []byte, do func(number int, line string) error) error {
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if err := do(number, line); err != nil {
			return fmt.Errorf("%s:%d: %w", file, number, err)
		}
	}
	return nil
}

// setting reads Key=value.
func setting(line string, inSection bool, sections string) (key, value string, err error) {
	key, value, ok := strings.Cut(line, "=")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	switch {
	case !ok:
		err = fmt.Errorf("%q is neither [Section] nor Key=value", line)
	case !inSection:
		err = fmt.Errorf("%s= stands before any section; put %s above it", key, sections)
	case value == "":
		err = fmt.Errorf("%s= has no value; leave the line out", key)
	}
	return key, value, err
}
