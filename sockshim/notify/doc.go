// Package notify gives sockets of the TOE to programs that libc interception cannot reach: static ones and
// those that make their system calls themselves, as Go's do.
//
// A seccomp filter ([Filter]) stops the calls that decide about a socket (connect, listen, accept, names and
// options) and asks a supervisor, a process of its own ([Serve]). All other calls run as ever, those
// that move octets among them. What the supervisor does not take for the TOE continues in the kernel as if it had not been
// asked.
//
// The descriptor of a connection that the TOE takes is replaced by one end of a pair of unix sockets, so poll, epoll,
// read, write, sendfile, dup, fork and exec are the kernel's own. The supervisor holds the other end, and carries octets
// between it and toed through sockshim/client. The end of a stream is that of the pair's; a reset is a pair that
// is closed with octets unread. A pair that is not connected yet is full, so it is not writable; a listener's
// holds an octet for each connection that waits, so it is readable.
//
// Sockets are known by the kernel's cookie of the descriptor that the program shows, never by its number or process: what
// fork, exec, dup and SCM_RIGHTS do to descriptors needs no attention. The program's own TCP socket stays with the supervisor, as the
// placeholder of the TOE's: it owns the port and keeps the options.
//
// The supervisor runs as the program's user and can do nothing that the program could not. It trusts neither the
// memory nor the descriptors that it is shown: they may change while it looks, which harms the program alone.
//
// Not here: what static and Go programs still lack is in docs/SOCKETS.md.
package notify
