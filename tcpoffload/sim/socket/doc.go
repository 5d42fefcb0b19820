// Package socket is Linux's socket calls over one engine: what a program sees when it talks TCP
// through the engine and nothing else. It serves packet scripts and whoever else has to drive the
// engine through system calls.
//
// A [Host] owns an engine, carries out its actions, keeps the octets of every stream, and turns
// segments into raw IP packets and back. It reads no clock, starts no goroutine and never waits.
// [Host.Do] carries out a call at a given instant; a call that would block says so in its [Result],
// and whoever made it does the same call again, the same value, after something has happened: a
// packet given to [Host.Input], time passed in [Host.Poll]. A call keeps its progress in its own
// unexported fields.
//
// Results are Linux's: return value, or error number. What is not implemented answers as a kernel
// without it would (ENOPROTOOPT, EOPNOTSUPP).
//
// Not here: datagrams, files, signals (EPIPE comes without SIGPIPE), receive buffers accounted by
// true size (their limits count octets of payload).
package socket
