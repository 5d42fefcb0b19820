package server

import (
	"testing"

	"github.com/stretchr/testify/require"

	"opentoe/tcpoffload/wire"
)

// Clients are told only of addresses that the kernel does not have: binding to others is its business.
func TestAddressesOfClients(t *testing.T) {
	list := addrList(&layer{dev: newFake(1)})
	require.Len(t, list, 1)
	require.EqualValues(t, wire.AddrFrom(fakePrefix.Addr()), list[0].Addr)
}
