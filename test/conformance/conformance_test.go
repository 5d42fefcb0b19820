// Package conformance holds docs/CONFORMANCE.md to the tree: every test and script that it names is there.
package conformance

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../.."

// TestNamedTestsExist looks for every `TestX`, `FuzzX`, `BenchmarkX` and `name.pkt` of the page.
func TestNamedTestsExist(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/CONFORMANCE.md"))
	require.NoError(t, err)
	known := declared(t)
	found := 0
	for i, line := range strings.Split(string(page), "\n") {
		for _, m := range regexp.MustCompile("`((?:Test|Fuzz|Benchmark)\\w+|[\\w/-]+\\.pkt)(?:/[^`]*)?`").FindAllStringSubmatch(line, -1) {
			found++
			if !known[m[1]] {
				t.Errorf("docs/CONFORMANCE.md:%d: there is no %s", i+1, m[1])
			}
		}
	}
	require.Greater(t, found, 300, "the page names its tests")
}

// declared returns the test functions of the tree, and its scripts by their last one and two path elements.
func declared(t *testing.T) map[string]bool {
	known := make(map[string]bool)
	fun := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	require.NoError(t, filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return filepath.SkipDir
		case strings.HasSuffix(p, ".pkt"):
			known[d.Name()] = true
			known[filepath.Base(filepath.Dir(p))+"/"+d.Name()] = true
		case strings.HasSuffix(p, "_test.go"):
			text, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			for _, m := range fun.FindAllSubmatch(text, -1) {
				known[string(m[1])] = true
			}
		}
		return nil
	}))
	return known
}
