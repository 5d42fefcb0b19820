// Package rtnl is the kernel as the control plane of the TOE's ports: its interfaces, addresses, routes,
// rules and neighbours, followed by rtnetlink.
//
// A [Kernel] has one socket for notifications and two goroutines. The follower (follow.go) listens to
// everything that concerns the ports it follows. A notification about a link, an address, a route or a
// rule is a hint only: the tables are read again (tables.go) and become the port's next view
// ([ports.Port.Apply]), so that no order of notifications and no kind of change can lead astray. Changes
// that come together are read once, and large tables not more often than they take to read. Notifications
// about neighbours come one by one and are applied one by one. The resolver (neigh.go) asks the kernel to
// resolve or to probe neighbours and tells it which were shown to work.
//
// Routes that the tables cannot answer, with policy routing for example, the kernel is asked for
// (lookup.go). Answers are kept until anything changes that routes depend on, and not for long.
//
// Invariants: a subscription precedes every reading, so no change is missed; when the kernel drops
// notifications (ENOBUFS), everything is read again; every queue and table has its limit in limits.go, and
// what does not fit is counted; workers wait for nothing but a route lookup.
//
// Not here: sending and holding frames (ports), what connections do about a change (toe/softdev), the
// interfaces themselves.
package rtnl
