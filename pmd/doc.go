// Package pmd is the poll-mode hardware driver: EAL, ports, queues, mempools. It is the project's
// only caller of DPDK and the only package with C in it.
//
// The nouns are DPDK's. [Start] brings up the EAL, once per process. [EAL.OpenPort] plugs in a
// device (a PCI address or a vdev string), configures it and starts it. A [Port] has [Queue]s; a
// queue moves [frame.Burst]s and satisfies ports.Queue.
//
// A crossing into C costs about 30 ns, so it happens once per burst: one call receives up to 64
// frames, one call transmits them. What would need further calls rides along: buffers given to
// [Queue.Free] go back with the next call, and the empty buffers that [Queue.Alloc] deals out were
// fetched by the last one. All arrays that both languages touch are C memory, allocated once with
// the queue.
//
// Invariants:
//   - an mbuf has one owner: the pool, the NIC, or the burst it stands in;
//   - a queue is used by one thread at a time, without locks; everything else may be called from
//     any goroutine;
//   - C never calls Go, and returns 0 or a negative errno, which [Errno] wraps once;
//   - the data path neither allocates nor makes a system call of its own (the AF_PACKET and AF_XDP
//     drivers kick the kernel once per transmitted burst).
//
// Not here: anything above Ethernet, steering, addresses, the mirror; see ports and softdev.
package pmd
