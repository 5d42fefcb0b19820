// Package shm is the shared-memory ABI between toed and its clients in Go: the layout of
// toe_shm.h, and the few operations on it that both sides build on.
//
// A [Region] is one client's memory file, mapped. Its queues, loans and slots are ordinary slices
// of the generated structures, so an index out of range is a Go panic and never a stray access;
// whoever takes an index from shared memory checks it first. What the producer and the consumer
// of a queue need to remember privately is in [CmdReader], [EQWriter], [LoanWriter] and [Pool]:
// shared cursors are announcements, private ones are the truth.
//
// Streams are chunks named by directories; [Region.Entry] finds a directory entry and
// [Region.ReadStream] and [Region.WriteStream] copy through them. Both refuse, rather than panic,
// when the directory holds nonsense, because the other side may have written it.
//
// Fields that both sides touch while the slot is live are loaded and stored with sync/atomic.
// Go's atomics are sequentially consistent, which is what the sleep protocol needs and more than
// the rest does.
//
// Not here: who may use what (sockshim/server), sockets (sockshim/client), and the control
// socket's conduct; only the form of its messages is ([Msg]).
package shm

//go:generate sh -c "./generate.sh > layout.go.new && mv layout.go.new layout.go"
