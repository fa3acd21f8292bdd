// Package sheet writes and reads small files of named values, one name a line:
//
//	name "web"
//	command "sh" "-c" "exit 3"
//
// Values are Go's quoted strings, so that any bytes come back as they were. The
// last line holds a checksum (CRC-32) of what is before it: a file that was cut
// off, or changed, is an error.
//
// This is what nsrun keeps of a container and of an image, and reads at every
// start. JSON would be known better, but finding out by reflection what is in a
// type costs a twentieth of a start, and the code half a mebibyte.
package sheet
