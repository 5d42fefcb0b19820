package ports

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRedirectRules(t *testing.T) {
	for _, c := range []struct {
		settings string // name=value of the interface, all/name=value of all
		four     bool
		want     RedirectRules
	}{
		{"", true, RedirectRules{Refuse: true}},
		{"accept_redirects=1 shared_media=1 secure_redirects=1", true, RedirectRules{OffLink: true}},
		{"accept_redirects=1 shared_media=0 secure_redirects=1", true, RedirectRules{Listed: true}},
		{"accept_redirects=1 shared_media=0 secure_redirects=0", true, RedirectRules{}},
		{"accept_redirects=1 shared_media=0 all/shared_media=1", true, RedirectRules{OffLink: true}},
		{"accept_redirects=0 all/accept_redirects=1", true, RedirectRules{}},
		{"accept_redirects=1 all/accept_redirects=0", true, RedirectRules{}},
		{"accept_redirects=1 all/accept_redirects=0 forwarding=1", true, RedirectRules{Refuse: true}},
		{"accept_redirects=1 all/accept_redirects=1 forwarding=1", true, RedirectRules{}},
		{"accept_redirects=0 all/accept_redirects=0", true, RedirectRules{Refuse: true}},
		{"", false, RedirectRules{Refuse: true}},
		{"accept_redirects=1", false, RedirectRules{}},
		{"accept_redirects=0 all/accept_redirects=1", false, RedirectRules{Refuse: true}},
		{"accept_redirects=1 forwarding=1", false, RedirectRules{Refuse: true}},
	} {
		root := t.TempDir()
		family := map[bool]string{true: "ipv4", false: "ipv6"}[c.four]
		for _, s := range strings.Fields(c.settings) {
			name, value, _ := strings.Cut(s, "=")
			if !strings.Contains(name, "/") {
				name = "eth0.5/" + name
			}
			file := filepath.Join(root, family, "conf", name)
			require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
			require.NoError(t, os.WriteFile(file, []byte(value+"\n"), 0o600))
		}
		require.Equal(t, c.want, redirectRules(root, "eth0.5", c.four), "%v %s", c.four, c.settings)
	}
	require.True(t, KernelRedirects("no-such-if0")(true).Refuse)
}
