package unit

// Port is a port that a unit needs for itself on its machine.
type Port struct {
	Protocol string // tcp or udp
	Address  string // an address of the machine; empty means all of them
	Number   uint16
	Line     int
}
