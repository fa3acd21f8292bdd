// Package gossip tells within seconds which machines answer and which don't.
//
// It wraps memberlist: machines probe each other and spread what they find,
// encrypted with the cluster's key. What it says is a hint: the engine may wait
// longer because of it, but never moves a unit for it alone, since whoever holds
// the key can say anything.
package gossip
