// Package apps is the application matrix: programs of Debian's packages, unmodified, served on the TOE to
// clients of the Linux kernel's TCP over a wire, and the other way round where that makes sense.
//
// Each row of the table is a test of its own, with its own two hosts, wire and toed; toed shares the near
// host's interface with the kernel. A row fails if a program does, if a connection was left to the kernel
// without the row saying so, or if anything is left in toed when the programs have ended. `make apps` runs
// all rows and writes docs/APPS.md; `make apps APP=nginx` runs some.
package apps
