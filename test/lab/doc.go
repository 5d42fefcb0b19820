// Package lab builds what the demo and the end-to-end tests run on: two hosts with a wire between
// them, toed on the near host, ordinary programs on both.
//
// The near host is where toed owns its end of the wire; it may be this machine itself. The far host
// is always a network namespace, and its TCP is the Linux kernel's. Programs are started and
// stopped by process group, everything made is registered with [Lab.Cleanup] and undone in reverse
// order by [Lab.Close], also after a failure.
package lab
