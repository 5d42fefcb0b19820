// Package version names the build of OpenTOE's commands.
package version

import (
	"fmt"
	"runtime/debug"
)

// Release is the version that the next release will have.
const Release = "0.1.0"

// String returns the release and, where the build knows it, the commit: "0.1.0 (1a2b3c4d5e6f)".
func String() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return Release
	}
	commit, modified := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(len(s.Value), 12)]
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = " with local changes"
		}
	}
	if commit == "" {
		return Release
	}
	return Release + " (" + commit + modified + ")"
}

// Numbers returns the release's parts.
func Numbers() (major, minor, patch uint64) {
	if _, err := fmt.Sscanf(Release, "%d.%d.%d", &major, &minor, &patch); err != nil {
		panic("version: Release is not of the form 1.2.3: " + Release)
	}
	return major, minor, patch
}
