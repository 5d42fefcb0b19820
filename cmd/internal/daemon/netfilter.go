package daemon

import (
	"fmt"
	"log/slog"

	"opentoe/cmd/internal/config"
	"opentoe/ports"
	"opentoe/ports/netfilter"
	"opentoe/tcpoffload/wire"
)

// Ports that respect the kernel's packet filter (netfilter: respect).

// openJudge lets the packet filter judge the connections of port number i, if the configuration says so.
func (h *hardware) openJudge(i int, n *nic, cfg *config.Config, log *slog.Logger) (err error) {
	p := &cfg.Ports[i]
	if p.Netfilter != config.NetfilterRespect {
		return nil
	}
	n.judge, err = netfilter.New(netfilter.Config{
		Interface: p.KernelInterface(), Workers: cfg.Workers.Count,
		Failed: func(err error) { log.Error("not every listener is the TOE's", "port", p.Name, "cause", err) },
	})
	if err != nil {
		return fmt.Errorf("ports[%d].netfilter: respect: %w", i, err)
	}
	h.onClose(n.judge.Close)
	n.port.Watch(func(v ports.View) {
		own := make([]wire.Addr, 0, len(v.Addresses))
		for _, a := range v.Addresses {
			own = append(own, wire.AddrFrom(a.Addr()))
		}
		n.judge.SetStation(own)
	})
	return nil
}

// hearJudges gives the device the SYNs that packet filters let through.
func (h *hardware) hearJudges() {
	for i, n := range h.nics {
		if n.judge != nil {
			n.judge.Start(func(packet []byte) bool { return h.soft.Judged(i, packet) })
		}
	}
}

// addJudge adds what the packet filter of a port decided.
func (c counters) addJudge(n *nic) {
	if n.judge == nil {
		return
	}
	for i, v := range n.judge.Counters() {
		c[netfilter.Counter(i).String()] += v
	}
}
