package sheet

import (
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"
)

// ErrDamaged says that a sheet is not as it was written.
var ErrDamaged = errors.New("damaged")

const sumName = "sum"

// Writer collects lines. The zero value is an empty sheet.
type Writer struct{ text []byte }

// Put adds a line of values, unless there are none. The name is a word of
// letters, other than sum.
func (w *Writer) Put(name string, values ...string) {
	if len(values) == 0 {
		return
	}
	w.text = append(w.text, name...)
	for _, v := range values {
		w.text = strconv.AppendQuote(append(w.text, ' '), v)
	}
	w.text = append(w.text, '\n')
}

// Text adds a value, unless it is empty.
func (w *Writer) Text(name, value string) {
	if value != "" {
		w.Put(name, value)
	}
}

// Flag adds a line without much in it, if on.
func (w *Writer) Flag(name string, on bool) {
	if on {
		w.Put(name, "yes")
	}
}

// Int adds a number, unless it is zero.
func (w *Writer) Int(name string, value int64) {
	if value != 0 {
		w.Put(name, strconv.FormatInt(value, 10))
	}
}

// Time adds a moment, to the nanosecond, unless it is zero.
func (w *Writer) Time(name string, value time.Time) {
	if !value.IsZero() {
		w.Put(name, value.UTC().Format(time.RFC3339Nano))
	}
}

// Bytes returns the sheet with its checksum.
func (w *Writer) Bytes() []byte {
	sum := strconv.AppendUint([]byte(sumName+" "), uint64(crc32.ChecksumIEEE(w.text)), 10)
	return append(append(w.text[:len(w.text):len(w.text)], sum...), '\n')
}

// Line is one name with its values.
type Line struct {
	Name   string
	Values []string // one at least
}

// Text returns the line's first value.
func (l Line) Text() string { return l.Values[0] }

// Int reads the line's number.
func (l Line) Int() (int64, error) {
	n, err := strconv.ParseInt(l.Values[0], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", l.Name, err)
	}
	return n, nil
}

// Time reads the line's moment.
func (l Line) Time() (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, l.Values[0])
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: %w", l.Name, err)
	}
	return t, nil
}

// Read checks a sheet and hands its lines to take, in order. The error wraps
// [ErrDamaged], or is what take returned.
func Read(data []byte, take func(Line) error) error {
	body, err := check(data)
	if err != nil {
		return err
	}
	for body != "" {
		var text string
		text, body, _ = strings.Cut(body, "\n")
		line, err := parse(text)
		if err != nil {
			return err
		}
		if err := take(line); err != nil {
			return err
		}
	}
	return nil
}

// check returns a sheet without its last line, which must be the right checksum.
func check(data []byte) (string, error) {
	text, ended := strings.CutSuffix(string(data), "\n")
	at := strings.LastIndexByte(text, '\n') + 1
	sum, found := strings.CutPrefix(text[at:], sumName+" ")
	if !ended || !found {
		return "", fmt.Errorf("%w: its end is missing", ErrDamaged)
	}
	if want := strconv.FormatUint(uint64(crc32.ChecksumIEEE(data[:at])), 10); sum != want {
		return "", fmt.Errorf("%w: its checksum is %s, and should be %s", ErrDamaged, sum, want)
	}
	return text[:at], nil
}

func parse(text string) (Line, error) {
	name, rest, _ := strings.Cut(text, " ")
	line := Line{Name: name}
	for rest != "" {
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return line, fmt.Errorf("%w: %q: %w", ErrDamaged, text, err)
		}
		value, err := strconv.Unquote(quoted)
		if err != nil {
			return line, fmt.Errorf("%w: %q: %w", ErrDamaged, text, err)
		}
		line.Values = append(line.Values, value)
		rest = strings.TrimPrefix(rest[len(quoted):], " ")
	}
	if name == "" || len(line.Values) == 0 {
		return line, fmt.Errorf("%w: %q: want a name and values", ErrDamaged, text)
	}
	return line, nil
}
