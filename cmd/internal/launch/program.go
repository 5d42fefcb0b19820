package launch

import (
	"bufio"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrUnreachable is what every reason of [Judge] wraps.
var ErrUnreachable = errors.New("the TOE cannot have its connections")

// Way is how the connections of a program get to the TOE.
type Way uint8

// The ways.
const (
	Preload   Way = iota // the socket library stands between the program and libc
	Supervise            // libc does not see the calls: a supervisor is asked about them
)

// maxScripts is how many scripts may interpret one another, as in the kernel.
const maxScripts = 4

// Judge looks into the program in file and says how its connections get to the TOE, or returns an error that says why
// they cannot. A script is judged by its interpreter, and that of /usr/bin/env by what env runs.
func Judge(file string) (Way, error) {
	for range maxScripts {
		words, err := scriptInterpreter(file)
		if err != nil {
			return 0, err
		}
		if len(words) == 0 {
			break
		}
		file = words[0]
		if filepath.Base(file) == "env" {
			file = runByEnv(words)
		}
	}
	if err := samePrivileges(file); err != nil {
		return 0, err
	}
	return wayOf(file)
}

// runByEnv returns the program that a line "#!/usr/bin/env ..." means: env itself, if it has none.
func runByEnv(words []string) string {
	for _, w := range words[1:] {
		if strings.HasPrefix(w, "-") || strings.Contains(w, "=") {
			continue
		}
		if p, err := exec.LookPath(w); err == nil {
			return p
		}
		break
	}
	return words[0]
}

// scriptInterpreter returns the words of a "#!" line, none for other files.
func scriptInterpreter(file string) ([]string, error) {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrPermission) {
		return nil, nil // executable but not readable: nothing to look into
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	line, _ := bufio.NewReaderSize(f, 256).ReadSlice('\n') // the kernel reads 256 octets, too
	rest, ok := strings.CutPrefix(string(line), "#!")
	if !ok {
		return nil, nil
	}
	return strings.Fields(rest), nil
}

// wayOf tells a program that asks for a dynamic loader and leaves its system calls to libc from others of this machine's kind.
func wayOf(file string) (Way, error) {
	f, err := elf.Open(file)
	if errors.Is(err, os.ErrPermission) {
		return Preload, nil // executable but not readable
	}
	if err != nil {
		return 0, fmt.Errorf("%s is not an ELF program: %w", file, ErrUnreachable)
	}
	defer f.Close()
	self, err := elf.Open("/proc/self/exe")
	if err != nil {
		return 0, err
	}
	defer self.Close()
	if f.Machine != self.Machine || f.Class != self.Class {
		return 0, fmt.Errorf("%s is a program for %v, %v: %w", file, f.Machine, f.Class, ErrUnreachable)
	}
	if isGo(f) {
		return Supervise, nil
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return Preload, nil
		}
	}
	return Supervise, nil
}

// isGo reports whether the Go linker has made the program: it makes system calls itself, with libc or without. The
// sections stay when symbols are stripped.
func isGo(f *elf.File) bool {
	return f.Section(".go.buildinfo") != nil || f.Section(".note.go.buildid") != nil
}

// samePrivileges checks that running file changes no privileges: the loader ignores LD_PRELOAD
// where it does (AT_SECURE), and a supervisor of the user's must not look into what has more rights than he.
func samePrivileges(file string) error {
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		return err
	}
	switch {
	case st.Mode&unix.S_ISUID != 0 && int(st.Uid) != os.Getuid():
		return fmt.Errorf("%s is set-user-ID: %w", file, ErrUnreachable)
	case st.Mode&unix.S_ISGID != 0 && int(st.Gid) != os.Getgid():
		return fmt.Errorf("%s is set-group-ID: %w", file, ErrUnreachable)
	}
	_, err := unix.Getxattr(file, "security.capability", nil)
	if err == nil && os.Getuid() != 0 {
		return fmt.Errorf("%s has file capabilities: %w", file, ErrUnreachable)
	}
	return nil
}

// ExecErrorStatus returns the exit status that env and shells use for a program that cannot be
// run: 127 when it does not exist, else 126.
func ExecErrorStatus(err error) int {
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, os.ErrNotExist) {
		return 127
	}
	return 126
}
