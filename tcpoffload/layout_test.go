package tcpoffload

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTCBLayout keeps the groups of TCB on cache lines of their own, and its size in bounds: the
// budget of the fast path is cache misses.
func TestTCBLayout(t *testing.T) {
	const line = 64
	typ := reflect.TypeFor[TCB]()
	require.Zero(t, typ.Size()%line, "size %d", typ.Size())
	require.Equal(t, uintptr(line), reflect.TypeFor[Flight]().Size())
	require.LessOrEqual(t, typ.Size(), uintptr(16*line))
	for _, g := range []struct {
		first, last string
		line, lines uintptr
	}{
		{"flow", "self", 0, 1},
		{"cookie", "dataSegsIn", 1, 2},
		{"snd", "lastRate", 3, 2},
		{"rtt", "model", 5, 3},
		{"rate", "softAt", 8, 2},
		{"cc", "cc", 10, 3},
		{"pace", "late", 13, 3},
	} {
		first, ok := typ.FieldByName(g.first)
		require.True(t, ok, g.first)
		last, ok := typ.FieldByName(g.last)
		require.True(t, ok, g.last)
		require.Equal(t, g.line*line, first.Offset, "%s begins a line", g.first)
		require.LessOrEqual(t, last.Offset+last.Type.Size(), (g.line+g.lines)*line, "%s to %s", g.first, g.last)
	}
}

// TestRecordsAreCompact: a flood of SYNs and the connections that are over take little memory.
func TestRecordsAreCompact(t *testing.T) {
	require.LessOrEqual(t, reflect.TypeFor[HalfOpen]().Size(), uintptr(96))
	require.LessOrEqual(t, reflect.TypeFor[TimeWait]().Size(), uintptr(80))
}

// TestTablesHoldNoPointers: the collector must have nothing to scan, and another process must be
// able to go on with the tables.
func TestTablesHoldNoPointers(t *testing.T) {
	for _, typ := range []reflect.Type{
		reflect.TypeFor[Root](), reflect.TypeFor[TCB](), reflect.TypeFor[Listener](), reflect.TypeFor[Range](),
		reflect.TypeFor[HalfOpen](), reflect.TypeFor[TimeWait](), reflect.TypeFor[Path](), reflect.TypeFor[Flight](), reflect.TypeFor[Model](),
	} {
		requirePlain(t, typ, typ.Name())
	}
}

func requirePlain(t *testing.T, typ reflect.Type, path string) {
	switch typ.Kind() {
	case reflect.Struct:
		for i := range typ.NumField() {
			f := typ.Field(i)
			requirePlain(t, f.Type, path+"."+f.Name)
		}
	case reflect.Array:
		requirePlain(t, typ.Elem(), path+"[]")
	case reflect.Bool, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Int64:
	default:
		t.Fatalf("%s is a %v", path, typ)
	}
}

// TestMemoryPerConnection: what one more connection takes, all of it used. A million must fit in 1.5 GiB, but for
// models of congestion control, which few use.
func TestMemoryPerConnection(t *testing.T) {
	octets := func(conns int) (n int) {
		v := reflect.ValueOf(*NewMemoryOf(Sizes{Conns: conns, Listeners: 1, HalfOpens: minRecords, TimeWaits: minRecords}))
		for i := range v.NumField() {
			f := v.Field(i)
			if v.Type().Field(i).Name != "Models" {
				n += f.Len() * int(f.Type().Elem().Size())
			}
		}
		return n
	}
	const conns = minShared // the shared parts of the pools grow from here on
	per := (octets(2*conns) - octets(conns)) / conns
	require.LessOrEqual(t, per, 1380)
	const records = defaultHalfOpens*96 + defaultTimeWaits*80 // see TestRecordsAreCompact
	require.LessOrEqual(t, 1_000_000*per+records, 3<<29)
}
