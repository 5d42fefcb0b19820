package launch

import (
	"bufio"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrUnreachable is what every reason of [Preloadable] wraps.
var ErrUnreachable = errors.New("the preload library cannot reach it")

// Preloadable returns nil if the dynamic loader will honour LD_PRELOAD for the program in file,
// and else an error that says why not. A script is judged by its interpreter.
func Preloadable(file string) error {
	interpreter, err := scriptInterpreter(file)
	if err != nil {
		return err
	}
	if interpreter != "" {
		file = interpreter
	}
	if err := dynamicELF(file); err != nil {
		return err
	}
	return samePrivileges(file)
}

// scriptInterpreter returns the program that a "#!" line names, or nothing for other files.
func scriptInterpreter(file string) (string, error) {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrPermission) {
		return "", nil // executable but not readable: nothing to look into
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	line, _ := bufio.NewReaderSize(f, 256).ReadSlice('\n') // the kernel reads 256 octets, too
	rest, ok := strings.CutPrefix(string(line), "#!")
	if fields := strings.Fields(rest); ok && len(fields) > 0 {
		return fields[0], nil
	}
	return "", nil
}

// dynamicELF checks that file asks for a dynamic loader of this machine's kind.
func dynamicELF(file string) error {
	f, err := elf.Open(file)
	if errors.Is(err, os.ErrPermission) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s is not an ELF program: %w", file, ErrUnreachable)
	}
	defer f.Close()
	self, err := elf.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	if f.Machine != self.Machine || f.Class != self.Class {
		return fmt.Errorf("%s is a program for %v, %v: %w", file, f.Machine, f.Class, ErrUnreachable)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return nil
		}
	}
	return fmt.Errorf("%s is statically linked: %w", file, ErrUnreachable)
}

// samePrivileges checks that running file changes no privileges: the loader ignores LD_PRELOAD
// where it does (AT_SECURE).
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
