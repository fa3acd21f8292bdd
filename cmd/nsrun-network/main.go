// Command nsrun-network connects containers to the machine's bridge and removes
// what is left of those that have ended. nsrun calls it for containers on the
// bridge only, for what it imports would make every start slower.
package main

import "os"

// version is set by the linker.
var version = "dev"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }
