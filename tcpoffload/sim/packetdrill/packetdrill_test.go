package packetdrill

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const scripts = "../../testdata"

// eachScript calls f for every script, by its path below testdata without the suffix.
func eachScript(t testing.TB, f func(name, file string)) {
	n := 0
	require.NoError(t, filepath.WalkDir(scripts, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(p) != ".pkt" {
			return err
		}
		n++
		rel, err := filepath.Rel(scripts, p)
		f(filepath.ToSlash(strings.TrimSuffix(rel, ".pkt")), p)
		return err
	}))
	require.NotZero(t, n)
}

// TestScripts runs every script over both families. go test -run 'TestScripts/<path>' -v shows the trace
// of one.
func TestScripts(t *testing.T) {
	eachScript(t, func(name, file string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src, err := os.ReadFile(file)
			require.NoError(t, err)
			s, err := Parse(filepath.Base(file), string(src))
			require.NoError(t, err)
			require.Regexp(t, `^// (RFC \d+|Linux)[^:]*: \S`, string(src), "the first line says what is shown")
			for _, v := range []int{4, 6} {
				if s.Options.IPVersion != 0 && s.Options.IPVersion != v {
					continue
				}
				var trace strings.Builder
				err := s.Run(v == 6, func(l string) { trace.WriteString(l + "\n") })
				if testing.Verbose() || err != nil {
					t.Logf("IPv%d\n%s", v, trace.String())
				}
				require.NoError(t, err, "IPv%d", v)
			}
		})
	})
}
