// Command udpecho sends back each packet that comes to UDP port 53: busybox has
// nothing that listens there.
package main

import (
	"log"
	"net"
)

func main() {
	c, err := net.ListenPacket("udp4", ":53")
	if err != nil {
		log.Fatal(err)
	}
	packet := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(packet)
		if err != nil {
			log.Fatal(err)
		}
		if _, err := c.WriteTo(packet[:n], from); err != nil {
			log.Print(err)
		}
	}
}
