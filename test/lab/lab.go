package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Config names the parts of a lab.
type Config struct {
	Root      string // the project's folder, where bin and build are
	Dir       string // scratch folder of the lab; Close removes it
	Near, Far string // namespaces; an empty Near is this machine itself
	Wire             // the first
}

// Wire joins the hosts. The zero Wire is none.
type Wire struct {
	NearIf   string // toed's end of the wire
	FarIf    string // the kernel's end
	Address  string // of the far end, with prefix
	Address6 string
	Shared   bool // the near kernel has its end as well as toed
}

// Lab is a running set-up. It is used by one goroutine.
type Lab struct {
	Config
	NearHost, FarHost Host
	undo              []func() error
	running           []*Process // in the order of their start
}

// New makes the namespaces and the wire. On failure nothing is left behind.
func New(cfg Config) (*Lab, error) {
	l := &Lab{Config: cfg, NearHost: Host{cfg.Near}, FarHost: Host{cfg.Far}}
	if err := l.build(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Lab) build() error {
	if os.Getuid() != 0 {
		return errors.New("root is needed to make network namespaces and interfaces: run it as root")
	}
	// Server processes give up their privileges, so the folder is open to read.
	if err := os.MkdirAll(l.Dir, 0o755); err != nil {
		return err
	}
	l.Cleanup(func() error { return os.RemoveAll(l.Dir) })
	for _, h := range []Host{l.NearHost, l.FarHost} {
		if h.Namespace == "" {
			continue
		}
		if err := run("ip", "netns", "add", h.Namespace); err != nil {
			return err
		}
		l.Cleanup(func() error { return run("ip", "netns", "del", h.Namespace) })
		if err := h.Run("ip", "link", "set", "lo", "up"); err != nil {
			return err
		}
	}
	if l.Wire == (Wire{}) {
		return nil
	}
	return l.AddWire(l.Wire)
}

// AddWire joins the hosts by a veth pair whose frames are as those of a real wire: at most 1500
// octets, checksums complete.
func (l *Lab) AddWire(w Wire) error {
	add := []string{"link", "add", w.NearIf}
	if l.Near != "" {
		add = append(add, "netns", l.Near)
	}
	add = append(add, "type", "veth", "peer", "name", w.FarIf, "netns", l.Far)
	if err := run("ip", add...); err != nil {
		return err
	}
	l.Cleanup(func() error {
		if !l.NearHost.has(w.NearIf) {
			return nil // a test has cut the wire
		}
		return l.NearHost.Run("ip", "link", "del", w.NearIf)
	})

	near, far := l.NearHost, l.FarHost
	if !w.Shared { // the near kernel must stay silent: the addresses behind this interface are toed's
		if err := near.Run("sysctl", "-qw", "net.ipv6.conf."+w.NearIf+".disable_ipv6=1"); err != nil {
			return err
		}
	}
	return errors.Join(
		near.Run("ethtool", "-K", w.NearIf, "tx", "off", "tso", "off", "gso", "off", "gro", "off"),
		near.Run("ip", "link", "set", w.NearIf, "up"),
		far.Run("ethtool", "-K", w.FarIf, "tx", "off", "tso", "off", "gso", "off", "gro", "off"),
		far.Run("ip", "address", "add", w.Address, "dev", w.FarIf),
		far.Run("ip", "address", "add", w.Address6, "dev", w.FarIf, "nodad"),
		far.Run("ip", "link", "set", w.FarIf, "up"),
	)
}

// Cleanup registers f to run in Close, before what was registered earlier.
func (l *Lab) Cleanup(f func() error) { l.undo = append(l.undo, f) }

// Close undoes everything. It may be called more than once.
func (l *Lab) Close() error {
	var errs []error
	for len(l.undo) > 0 {
		last := len(l.undo) - 1
		f := l.undo[last]
		l.undo = l.undo[:last]
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// Abandon forgets what Close would undo: the lab stays as it is.
func (l *Lab) Abandon() { l.undo = nil }

// Running returns the background processes that have not ended, the latest first.
func (l *Lab) Running() []*Process {
	var list []*Process
	for _, p := range slices.Backward(l.running) {
		select {
		case <-p.Done():
		default:
			list = append(list, p)
		}
	}
	return list
}

// Path returns the name of a file in the lab's folder.
func (l *Lab) Path(elem ...string) string {
	return filepath.Join(append([]string{l.Dir}, elem...)...)
}

// Bin returns one of the project's commands.
func (l *Lab) Bin(command string) string { return filepath.Join(l.Root, "bin", command) }

// Toerun returns the words that run a program on the TOE and nowhere else.
func (l *Lab) Toerun(socket string, args ...string) []string {
	return append([]string{l.Bin("toerun"), "--require", "--socket", socket, "--"}, args...)
}

// CheckPrograms returns an error that names the first of the programs that is not installed.
func CheckPrograms(names ...string) error {
	for _, n := range names {
		if _, err := lookPath(n); err != nil {
			return fmt.Errorf("%s is not installed: make deps installs it", n)
		}
	}
	return nil
}
