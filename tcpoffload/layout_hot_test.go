package tcpoffload

import (
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestHotCodeStandsTogether: what every segment passes is one piece of the program's text, as hot_arrive.go
// says. The linker keeps the order of files and functions; a file between the hot ones would part them.
func TestHotCodeStandsTogether(t *testing.T) {
	var first, last uintptr
	for _, f := range []any{
		(*Engine).Arrive, (*Engine).predict, (*Engine).textInOrder, (*Engine).ackInOrder,
		(*Engine).advanceUna, (*Engine).congest, (*TCB).arrived,
		(*Engine).Call, (*Engine).queue, (*Engine).received,
		(*Engine).Transmit, (*Engine).sendData, (*Engine).sendNew, (*Engine).appendSegment, (*Engine).flightRoom,
		(*Engine).armRexmt, (*Engine).NextDeadline,
	} {
		pc := reflect.ValueOf(f).Pointer()
		if first == 0 || pc < first {
			first = pc
		}
		last = max(last, pc)
	}
	for pc := first; pc <= last; pc += 16 {
		f := runtime.FuncForPC(pc) // or of what is inlined there
		if f == nil {
			continue // between two functions
		}
		f = runtime.FuncForPC(f.Entry())
		file, _ := f.FileLine(f.Entry())
		require.True(t, strings.HasPrefix(filepath.Base(file), "hot_"), "%s of %s stands among the hot code", f.Name(), file)
	}
}
