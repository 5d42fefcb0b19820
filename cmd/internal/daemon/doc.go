// Package daemon assembles toed from the project's packages and takes it apart again.
//
// From the bottom: DPDK and a port of it (pmd), addresses and neighbours of the port (ports), the
// software TOE with its workers (toe/softdev), the registry (toe), the server of the shared-memory
// clients (sockshim/server); beside them the register bank (hwregs), the mirror (ports) and the
// operator's socket (cmd/internal/ctl). No data passes through this package, and it decides nothing
// but the order of construction: whatever was built is undone in reverse order, also after a failure
// half-way.
package daemon
