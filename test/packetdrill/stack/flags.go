package stack

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"opentoe/tcpoffload/wire"
)

// defaultLocal are the local addresses with which packetdrill's run_all.py runs its scripts.
const defaultLocal = "local=192.168.0.1,local=fd3d:0a0b:17d6::1"

// flags are what packetdrill tells its network device and does not tell a plug-in.
type flags struct {
	local []wire.Addr
	mtu   int // octets, 0: 1500
}

// parseFlags reads a list "mtu=1520,local=192.0.2.1,local=2001:db8::1": the MTU, and the local addresses,
// which replace those of run_all.py.
func parseFlags(text string) (f flags, err error) {
	if !strings.Contains(text, "local=") {
		text = strings.TrimPrefix(text+","+defaultLocal, ",")
	}
	for _, item := range strings.Split(text, ",") {
		key, val, _ := strings.Cut(item, "=")
		switch key {
		case "mtu":
			f.mtu, err = strconv.Atoi(val)
		case "local":
			var a netip.Addr
			a, err = netip.ParseAddr(val)
			f.local = append(f.local, wire.AddrFrom(a))
		default:
			err = fmt.Errorf("no such flag")
		}
		if err != nil {
			return flags{}, fmt.Errorf("flag %q: %w", item, err)
		}
	}
	return f, nil
}
