package xdp

import (
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// numPorts is how many TCP ports an address has.
const numPorts = 1 << 16

// Claims are the local ports of the TOE's connections: for each worker a count for each port, in memory
// that the programs of all interfaces read.
type Claims struct {
	table   *ebpf.Map
	memory  []byte
	workers int
}

// NewClaims returns empty claims for that many workers; worker i uses queue i of every interface.
func NewClaims(workers int) (*Claims, error) {
	spec, err := loadSteer()
	if err != nil {
		return nil, explain("", err)
	}
	claims := spec.Maps[tableClaims]
	claims.MaxEntries = uint32(workers)
	c := &Claims{workers: workers}
	if c.table, err = ebpf.NewMap(claims); err != nil {
		return nil, explain("", err)
	}
	if c.memory, err = mapMemory(c.table); err != nil {
		c.table.Close()
		return nil, explain("", err)
	}
	return c, nil
}

// Worker returns the counts of worker w by local port; the first is not 0 while the worker takes no SYNs. The worker alone writes them, with plain stores:
// the program sees each either before or after.
func (c *Claims) Worker(w int) []uint32 {
	return words(c.memory)[w*numPorts : (w+1)*numPorts]
}

// Close gives the memory back. Nobody may use it any more, and the programs that use it are closed.
func (c *Claims) Close() error {
	if c.memory == nil {
		return nil
	}
	err := unix.Munmap(c.memory)
	c.memory = nil
	if e := c.table.Close(); err == nil {
		err = e
	}
	return err
}

// mapMemory maps the values of an array into the process.
func mapMemory(m *ebpf.Map) ([]byte, error) {
	size := int(m.ValueSize()) * int(m.MaxEntries())
	b, err := unix.Mmap(m.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %d octets of a BPF array: %w", size, err)
	}
	return b, nil
}
