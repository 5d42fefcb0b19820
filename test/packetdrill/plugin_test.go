package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPluginServesAConnection loads the library in a C program as packetdrill does, with the preload
// library, and holds what the program sees against what it has to be.
func TestPluginServesAConnection(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	build := func(name string, arg ...string) {
		out, err := exec.Command(name, arg...).CombinedOutput()
		require.NoError(t, err, "%s: %s", name, out)
	}
	build("go", "build", "-buildmode=c-shared", "-o", in("plugin.so"), ".")
	build("gcc", "-std=gnu11", "-Wall", "-Werror", "-shared", "-fPIC", "-o", in("preload.so"), "preload/preload.c", "-ldl")
	build("gcc", "-std=gnu11", "-Wall", "-Werror", "-o", in("harness"), "testdata/harness.c", "-ldl", "-pthread")

	run := exec.Command(in("harness"), in("plugin.so"))
	run.Env = append(os.Environ(), "LD_PRELOAD="+in("preload.so"))
	out, err := run.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, `bind 0 listen 0
read of a listener -1 ENOTCONN
out flags 0x12 ack 1001 length 0
read 5 hello
out flags 0x10 ack 1006 length 0
write 8
out flags 0x18 ack 1006 length 8
getsockopt of libc 0 state 1 mss 536
close 0
out flags 0x11 ack 1006 length 0
`, string(out))
}
