//go:build apps

package apps

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	quick  = flag.Bool("quick", false, "only the rows that need few packages and little time")
	update = flag.Bool("update", false, "write the rows that are run into docs/APPS.md")
)

// app is a row of the table.
type app struct {
	name     string   // -run TestApps/NAME
	packages []string // Debian's, the row's own program first
	quick    bool     // part of `make test`; its packages are those of .ci/deps without arguments
	remark   string   // what a reader has to know
	config   string   // of toed, besides the quickstart's
	kernel   string   // why some connections are the kernel's; empty: all must be the TOE's
	run      func(b *bench)
}

// table is everything that is run, in the order of docs/APPS.md.
func table() []app {
	return slices.Concat(nginxApps, proxyApps, storeApps, databaseApps, sshApps, apacheApps, toolApps, fileApps, languageApps)
}

func TestMain(m *testing.M) {
	if os.Getuid() != 0 {
		fmt.Fprintln(os.Stderr, "apps: root is needed to make network namespaces: run it as root")
		os.Exit(1)
	}
	// The programs are those of the packages, whatever else of the name the caller's PATH has; Go's own comes last.
	path := "/usr/sbin:/usr/bin:/sbin:/bin"
	if tool, err := exec.LookPath("go"); err == nil {
		path += ":" + filepath.Dir(tool)
	}
	if err := os.Setenv("PATH", path); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func TestApps(t *testing.T) {
	var done report
	ran := map[string]bool{}
	t.Run("all", func(t *testing.T) {
		for _, a := range table() {
			if *quick && !a.quick {
				continue
			}
			t.Run(a.name, func(t *testing.T) {
				ran[a.name] = true
				t.Parallel()
				done.add(runApp(t, &a))
			})
		}
	})
	if *update {
		require.NoError(t, done.write("../../docs/APPS.md", func(a *app) bool { return ran[a.name] }))
	}
}

// slug makes a row's name part of a namespace's and a folder's.
func slug(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(name))
}
