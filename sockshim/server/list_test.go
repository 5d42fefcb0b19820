package server

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSocketsTellFamilies(t *testing.T) {
	r := newRig(t, 1, nil)
	r.listen(0, 8080)
	list := r.srv.Sockets()
	require.Len(t, list, 1)
	require.Equal(t, "LISTEN", list[0].State)
	require.Equal(t, "0.0.0.0:8080", list[0].Local.String())
}
