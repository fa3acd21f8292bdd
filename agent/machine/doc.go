// Package machine says what this machine is: its identity, address, capacity
// and the facts by which units choose machines.
//
// It reads /etc, /proc and the network's state; it changes nothing.
package machine
