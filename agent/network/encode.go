package network

import (
	"fmt"
	"strconv"

	"github.com/clusterd/clusterd/agent/sheet"
)

func (r Record) encode() []byte {
	var w sheet.Writer
	w.Text("id", r.ID)
	w.Text("name", r.Name)
	w.Int("pid", int64(r.PID))
	w.Put("start", strconv.FormatUint(r.Start, 10))
	w.Text("address", r.Address.String())
	w.Text("hardware", r.Hardware)
	w.Put("aliases", r.Aliases...)
	for _, p := range r.Ports {
		w.Put("port", p.Address.String(), strconv.Itoa(int(p.Port)), p.Protocol, strconv.Itoa(int(p.Inside)))
	}
	return w.Bytes()
}

func decodeRecord(data []byte) (r Record, err error) {
	err = sheet.Read(data, func(l sheet.Line) (err error) {
		switch l.Name {
		case "id":
			r.ID = l.Text()
		case "name":
			r.Name = l.Text()
		case "pid":
			var n int64
			n, err = l.Int()
			r.PID = int(n)
		case "start":
			r.Start, err = strconv.ParseUint(l.Text(), 10, 64)
		case "address":
			r.Address, err = ParseAddress(l.Text())
		case "hardware":
			r.Hardware = l.Text()
		case "aliases":
			r.Aliases = l.Values
		case "port":
			var f Forward
			f, err = decodeForward(l.Values)
			r.Ports = append(r.Ports, f)
		}
		return err
	})
	return r, err
}

func decodeForward(v []string) (f Forward, err error) {
	if len(v) != 4 {
		return f, fmt.Errorf("port %q: want an address, a port, a protocol and a port", v)
	}
	if f.Address, err = ParseAddress(v[0]); err != nil {
		return f, err
	}
	port, err := strconv.ParseUint(v[1], 10, 16)
	if err != nil {
		return f, err
	}
	inside, err := strconv.ParseUint(v[3], 10, 16)
	f.Port, f.Protocol, f.Inside = uint16(port), v[2], uint16(inside)
	return f, err
}

func (s State) encode() []byte {
	var w sheet.Writer
	w.Text("subnet", s.Subnet.String())
	w.Int("mtu", int64(s.MTU))
	w.Flag("forward", s.Forward)
	return w.Bytes()
}

func decodeState(data []byte) (s State, err error) {
	err = sheet.Read(data, func(l sheet.Line) (err error) {
		switch l.Name {
		case "subnet":
			s.Subnet, err = ParsePrefix(l.Text())
		case "mtu":
			var n int64
			n, err = l.Int()
			s.MTU = int(n)
		case "forward":
			s.Forward = true
		}
		return err
	})
	return s, err
}
