// Package bridge puts into the kernel what package network decides: the bridge,
// the cables of containers, the table of rules. [Up] connects a container,
// [Reconcile] removes what is left of those that have ended. Both speak netlink
// and need no other program. nsrun-network is made of them; nsrun itself stays
// clear of what this package imports.
package bridge
