package network

import (
	"reflect"
	"testing"
)

func TestRecordsComeBack(t *testing.T) {
	subnet, err := ParsePrefix("10.86.0.0/16")
	if err != nil {
		t.Fatal(err)
	}
	address, err := ParseAddress("10.86.0.2")
	if err != nil {
		t.Fatal(err)
	}
	whole := Record{
		ID: "abc", Name: "web", PID: 12, Start: 1 << 63, Address: address, Hardware: "02:42:0a:56:00:02",
		Aliases: []string{"a", "b"}, Ports: []Forward{{Address: address, Port: 8080, Protocol: "tcp", Inside: 80}, {Port: 53, Protocol: "udp", Inside: 53}},
	}
	state := State{Subnet: subnet, MTU: 1500, Forward: true}
	for _, v := range []reflect.Value{reflect.ValueOf(whole), reflect.ValueOf(state)} {
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("%s is not tried", v.Type().Field(i).Name)
			}
		}
	}
	if got, err := decodeRecord(whole.encode()); err != nil || !reflect.DeepEqual(got, whole) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, whole)
	}
	if got, err := decodeState(state.encode()); err != nil || got != state {
		t.Errorf("%v, got %+v, want %+v", err, got, state)
	}
}
