// Package netfilter asks the kernel's packet filter about the connections of a port before the TOE takes
// them: a SYN that the host's rules (nftables or iptables) would drop, reject or rewrite is not offloaded.
//
// The kernel judges real packets. A table of our own has one chain behind all others where packets reach
// this host's sockets, and one behind all others where they leave. What gets there has passed every rule.
// There a SYN for one of the TOE's listeners is handed to us (nfnetlink_log) and goes no further, so that
// the kernel's own listener on the port does not see it; and so is a copy of a SYN that the TOE is about to
// send, which we give the kernel to send by a raw socket of the program's user. A SYN that does not come
// back was not let through. The kernel answers what it rejects.
//
// Invariants: the table belongs to our netlink socket, so that it goes with the process and survives
// "nft flush ruleset"; without the table, or with a table that is incomplete, SYNs stay with the kernel.
//
// Not here: rules for segments of connections that are open, which bypass netfilter. What the judgement
// cannot see is in docs/decisions/0013-netfilter.md.
package netfilter
