package daemon

import (
	"fmt"
	"reflect"

	"opentoe/cmd/internal/ctl"
	"opentoe/ports"
	"opentoe/sockshim/server"
	"opentoe/tcpoffload"
	"opentoe/tcpoffload/wire"
	"opentoe/toe"
	"opentoe/toe/softdev"
)

// counters are summed up by name.
type counters map[string]uint64

// addFields adds the fields of a struct that are plain counters, under their names.
func (c counters) addFields(s any) {
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		if v.Field(i).Kind() == reflect.Uint64 {
			c[v.Type().Field(i).Name] += v.Field(i).Uint()
		}
	}
}

// Stats implements [ctl.Daemon].
func (d *Daemon) Stats() (ctl.Stats, error) {
	s := ctl.Stats{
		TCP: counters{}, Drops: counters{}, Device: counters{}, Ports: map[string]map[string]uint64{},
		Sockets: d.socketCounters(), Mirror: d.mirrorCounters(), Meanings: map[string]string{},
	}
	for r := range toe.NumReasons {
		if r != toe.Offloaded {
			s.Meanings["declined "+r.String()] = r.Meaning()
		}
	}
	if d.hw.soft == nil {
		return s, nil
	}
	s.Kernel = d.hw.controlCounters()
	wires := make([]counters, len(d.hw.nics))
	for i, n := range d.hw.nics {
		wires[i] = counters{}
		wires[i].addPort(n)
		s.Ports[n.dev.Name()] = wires[i]
	}
	for i := range d.hw.device.Info().Workers {
		snap, err := d.hw.soft.Snapshot(i)
		if err != nil {
			return s, err
		}
		counters(s.TCP).addFields(snap.MIB)
		counters(s.Device).addFields(snap.Counters)
		counters(s.Drops).addDrops(&snap)
		for i, p := range snap.Ports {
			wires[i].addFields(p)
		}
		s.Workers = append(s.Workers, ctl.Worker{
			BusyNS: int64(snap.Busy), IdleNS: int64(snap.Idle), AsleepNS: int64(snap.Asleep),
			Iterations: snap.Iterations, Sleeps: snap.Sleeps,
		})
	}
	for _, w := range wires {
		for _, lost := range []string{rxMissed, rxErrors, rxNoBuffer} {
			s.Drops[lost] += w[lost]
		}
	}
	return s, nil
}

// Names of what a port loses before a worker sees it.
const rxMissed, rxErrors, rxNoBuffer = "rx-missed", "rx-errors", "rx-no-buffer"

// addPort adds what the driver and the responder of a port count.
func (c counters) addPort(n *nic) {
	stats := n.dev.Stats()
	c[rxMissed] += stats.RxMissed
	c[rxErrors] += stats.RxErrors
	c[rxNoBuffer] += stats.RxNoMbuf
	c.addNetdev(n)
	c.addJudge(n)
	for i, v := range n.port.Counters() {
		c[ports.Counter(i).String()] += v
	}
	if n.tap != nil {
		for i, v := range n.tap.Counters() {
			c[ports.KernelCounter(i).String()] += v
		}
	}
}

// addDrops adds what the parser, the device and the engine discarded, by reason.
func (c counters) addDrops(s *softdev.Snapshot) {
	for v := range wire.NumVerdicts {
		if n := s.Verdicts[v]; v != wire.VerdictTCP && v != wire.VerdictOther {
			c[v.String()] += n
		}
	}
	for r := range softdev.NumDrops {
		c[r.String()] += s.Drops[r]
	}
	for r := tcpoffload.DropNone + 1; r < tcpoffload.NumDropReasons; r++ {
		c[r.String()] += s.EngineDrops[r]
	}
}

func (d *Daemon) mirrorCounters() counters {
	m := d.mirror.Stats()
	return counters{"frames": m.Seen, "dropped": m.Lost}
}

func (d *Daemon) socketCounters() counters {
	sc := d.sockets.Counters()
	c := counters{}
	c.addFields(sc)
	for r := range toe.NumReasons {
		if r != toe.Offloaded {
			c["declined "+r.String()] = sc.Declined[r]
		}
	}
	for i, r := range d.policy.Rules() {
		c[fmt.Sprintf("policy[%d]", i)] = r.Hits
	}
	for i, n := range sc.Violations {
		c["violation "+server.ViolationName(i)] = n
	}
	return c
}
