package ports

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/bpf"
)

// instructionLen is how many octets of FuzzFilter's input make an instruction.
const instructionLen = 8

// FuzzFilter runs any program as a capture's filter over any frame, and reads its text as tcpdump's output. A
// program is refused, or it ends without harm; what parseFilter takes from a text is what stands there.
func FuzzFilter(f *testing.F) {
	f.Add("0\n", []byte("frame"))
	f.Add("2\n40 0 0 12\n6 0 0 262144\n", []byte("fourteen octets"))
	f.Add("6\n40 0 0 12\n21 0 3 2048\n48 0 0 23\n21 0 1 6\n6 0 0 96\n6 0 0 0\n", make([]byte, 60))
	f.Add("4\n177 0 0 14\n72 0 0 14\n52 0 0 0\n22 0 0 0\n", []byte{13: 8, 14: 0x45, 59: 1})
	f.Add("3\n0 0 0\n", []byte(nil))
	f.Fuzz(func(t *testing.T, text string, data []byte) {
		var programs [2][]bpf.RawInstruction
		prog, err := parseFilter(text)
		if err != nil {
			require.ErrorIs(t, err, ErrBadFilter)
		}
		programs[0] = prog
		for b := []byte(text); len(b) >= instructionLen; b = b[instructionLen:] {
			programs[1] = append(programs[1], bpf.RawInstruction{
				Op: binary.LittleEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.LittleEndian.Uint32(b[4:]),
			})
		}
		for _, raw := range programs {
			vm, err := newFilter(raw)
			if err != nil {
				require.ErrorIs(t, err, ErrBadFilter)
				continue
			}
			_, _ = vm.Run(data) // an error is a frame that does not match
		}
	})
}
