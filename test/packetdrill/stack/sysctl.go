package stack

// Settings: scripts change the kernel's, in the network namespace in which packetdrill runs. They are
// read again before everything that packetdrill does, and become the engine's.

import (
	"os"
	"path/filepath"
	"strings"

	"opentoe/tcpoffload/sim/socket"
)

// notTaken is not taken from the kernel: a container may not set it, and ours is CUBIC.
const notTaken = "net.ipv4.tcp_congestion_control"

// Command sees a shell command before it runs. Those that flush the kernel's metrics of peers flush
// ours: Fast Open cookies are among them.
func (s *Stack) Command(command string) {
	if !strings.Contains(command, "ip tcp_metrics flush") {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.host.Engine.ForgetFastOpen()
}

// configure puts the settings at first into force, as changed by the files in the folder of the kernel's. A file
// that is missing or not understood changes nothing, and if the engine refuses one nothing changes at all.
func (s *Stack) configure() {
	set := s.atFirst
	for _, name := range socket.SettingNames() {
		text, err := os.ReadFile(filepath.Join(s.sysctl, strings.TrimPrefix(name, "net.ipv4.")))
		if err == nil && name != notTaken {
			_ = set.Set(name, string(text))
		}
	}
	_ = s.host.Configure(&set)
}
