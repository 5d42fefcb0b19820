//go:build invariants

package pmd

import (
	"fmt"
	"sync"

	"opentoe/pmd/frame"
)

// ledger knows which buffers are in bursts, over all queues of an EAL, and panics when a frame is
// given away that nobody has: freed twice, or freed and transmitted.
type ledger struct{ held sync.Map }

// take notes that the last n frames of b were dealt out.
func (l *ledger) take(b *frame.Burst, n int) {
	for i := b.Len() - n; i < b.Len(); i++ {
		if _, twice := l.held.LoadOrStore(b.At(i).Handle, true); twice {
			panic(fmt.Sprintf("pmd: buffer %#x was dealt out twice", b.At(i).Handle))
		}
	}
}

// give notes that frames go back.
func (l *ledger) give(frames []frame.Frame) {
	for i := range frames {
		if _, ok := l.held.LoadAndDelete(frames[i].Handle); !ok {
			panic(fmt.Sprintf("pmd: frame %d with buffer %#x is given away, but nobody has it", i, frames[i].Handle))
		}
	}
}
