package launch

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const shimName = "libtoe_shim.so"

// FindShim returns the preload library that belongs to the command exe: the one that TOE_SHIM
// names, the one of the same build or installation, or the system's.
func FindShim(exe string) (string, error) {
	if s := os.Getenv("TOE_SHIM"); s != "" {
		return usable(s)
	}
	dir := filepath.Dir(exe)
	candidates := []string{
		filepath.Join(dir, "..", "build", shimName),
		filepath.Join(dir, "..", "lib", "opentoe", shimName),
		filepath.Join(dir, "..", "lib", shimName),
		filepath.Join("/usr/lib/opentoe", shimName),
	}
	for _, c := range candidates {
		if s, err := usable(c); err == nil {
			return s, nil
		}
	}
	return "", fmt.Errorf("%s not found beside %s or in /usr/lib/opentoe: run make build, or name it in TOE_SHIM", shimName, exe)
}

func usable(file string) (string, error) {
	if _, err := os.Stat(file); err != nil {
		return "", err
	}
	file, err := filepath.Abs(file)
	if err == nil && strings.ContainsAny(file, " :") {
		err = fmt.Errorf("%s: the dynamic loader takes no path with a space or colon: move it, or name another in TOE_SHIM", file)
	}
	return file, err
}

// Environment returns env with shim in front of what else is preloaded, and socket as the place
// where toed answers.
func Environment(env []string, shim, socket string) []string {
	out := make([]string, 0, len(env)+2)
	preload := shim
	for _, kv := range env {
		key, value, _ := strings.Cut(kv, "=")
		switch key {
		case "LD_PRELOAD":
			preload = prepend(shim, value)
		case "TOE_SOCKET":
		default:
			out = append(out, kv)
		}
	}
	return append(out, "LD_PRELOAD="+preload, "TOE_SOCKET="+socket)
}

// prepend puts shim first in the list of preloaded libraries, once.
func prepend(shim, list string) string {
	libs := []string{shim}
	for _, l := range strings.FieldsFunc(list, func(r rune) bool { return r == ':' || r == ' ' }) {
		if l != shim {
			libs = append(libs, l)
		}
	}
	return strings.Join(libs, ":")
}

// Supervised marks the environment of programs whose calls a supervisor is asked about, those that they start
// included.
const Supervised = "TOE_SUPERVISED"

// SupervisedEnvironment returns env without shim, of which a supervised program has no need, marked.
func SupervisedEnvironment(env []string, shim, socket string) []string {
	out := make([]string, 0, len(env)+2)
	for _, kv := range env {
		key, value, _ := strings.Cut(kv, "=")
		switch key {
		case "LD_PRELOAD":
			libs := strings.FieldsFunc(value, func(r rune) bool { return r == ':' || r == ' ' })
			libs = slices.DeleteFunc(libs, func(l string) bool { return l == shim || filepath.Base(l) == shimName })
			if len(libs) > 0 {
				out = append(out, "LD_PRELOAD="+strings.Join(libs, ":"))
			}
		case "TOE_SOCKET", Supervised:
		default:
			out = append(out, kv)
		}
	}
	return append(out, "TOE_SOCKET="+socket, Supervised+"=1")
}
