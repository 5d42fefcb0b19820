// Package conformance holds pages that claim to the tree: every test and script that they name is there.
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

// TestNamedTestsExist looks for every `TestX`, `FuzzX`, `BenchmarkX` and `name.pkt` of the pages.
func TestNamedTestsExist(t *testing.T) {
	known := declared(t)
	name := regexp.MustCompile("`((?:Test|Fuzz|Benchmark)\\w+|[\\w/-]+\\.pkt)(?:/[^`]*)?`")
	for page, least := range map[string]int{"docs/CONFORMANCE.md": 300, "docs/COEXISTENCE.md": 5} {
		text, err := os.ReadFile(filepath.Join(root, page))
		require.NoError(t, err)
		found := 0
		for i, line := range strings.Split(string(text), "\n") {
			for _, m := range name.FindAllStringSubmatch(line, -1) {
				found++
				if !known[m[1]] {
					t.Errorf("%s:%d: there is no %s", page, i+1, m[1])
				}
			}
		}
		require.Greater(t, found, least, "%s names its tests", page)
	}
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
