// Package wire is typed views over Ethernet, VLAN, ARP, IPv4/6, ICMP and TCP bytes, and checksums.
//
// It has two levels. A view ([Ethernet], [IPv4], [TCP], …) is a byte slice with getters and
// setters; it aliases the frame and dies with it. AsX checks once that the header fits and is
// consistent; accessors do not check again and do not panic after it. A value ([Packet], [Header],
// [Options], [Flow]) is in host order and free of pointers into the frame; logic sees only those.
//
// [Parse] turns a received frame into a [Packet] or says with a [Verdict] why it is not one;
// [Header] does the way back: Len then Put, and every octet of the header is written. Nothing here
// allocates, and no input makes it panic.
//
// Byte order lives in this package alone. Not here: what to do with a packet (tcpoffload, ports),
// reassembly of IP fragments (not done; they are left to the kernel), IPsec, jumbograms.
package wire
