package config

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// FuzzParse reads any text as a configuration. Either it is one, and then what the program makes of it can be
// had, or every problem says where it is: by line, by key, or, where the text is no YAML at all, in YAML's
// own words.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"reference.yaml", "quickstart.yaml"} {
		text, err := os.ReadFile(filepath.Join(configs, name))
		require.NoError(f, err)
		f.Add(text)
	}
	for _, text := range []string{
		"", "ports:", "ports: [*a]", "ports: &a [*a]", "a: &a {b: *a}", "- 1", "? {}\n: 1", "mode: 0", "\xff", "\x00",
		"PORTS: []", "ports: [{name: a, name: b}]", "tcp: {rto_min: -1ms, mss: 99999999999999999999}",
		"policy:\n- {role: passive, local_ports: 80-70, remote: 10.0.0.0/33}\n", "tcp: !!binary aGVsbG8=", "<<: {a: 1}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 16<<10 {
			return
		}
		cfg, err := Parse("toe.yaml", text)
		if err == nil {
			cfg.Rules()
			return
		}
		var problems Problems
		require.True(t, errors.As(err, &problems), "%T", err)
		require.NotEmpty(t, problems)
		isYAML := yaml.Unmarshal(text, new(yaml.Node)) == nil
		for _, p := range problems {
			require.Equal(t, "toe.yaml", p.File)
			require.NotEmpty(t, p.Cause)
			require.True(t, !isYAML || p.Line > 0 || p.Key != "", "no line and no key: %v", p)
			require.Contains(t, err.Error(), p.Error())
		}
	})
}
