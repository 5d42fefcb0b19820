package daemon

import (
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
	tcp, drops, port, host := counters{}, counters{}, counters{}, counters{}
	s := ctl.Stats{TCP: tcp, Drops: drops, Port: port, Host: host, Sockets: d.socketCounters(), Mirror: d.mirrorCounters()}
	if d.hw.soft == nil {
		return s, nil
	}
	for i := range d.hw.device.Info().Workers {
		snap, err := d.hw.soft.Snapshot(i)
		if err != nil {
			return s, err
		}
		tcp.addFields(snap.MIB)
		port.addFields(snap.Counters)
		for _, p := range snap.Ports {
			port.addFields(p)
		}
		drops.addDrops(&snap)
		s.Workers = append(s.Workers, ctl.Worker{
			BusyNS: int64(snap.Busy), IdleNS: int64(snap.Idle), AsleepNS: int64(snap.Asleep),
			Iterations: snap.Iterations, Sleeps: snap.Sleeps,
		})
	}
	nic := d.hw.nic.Stats()
	drops["rx-missed"] += nic.RxMissed
	drops["rx-errors"] += nic.RxErrors
	drops["rx-no-buffer"] += nic.RxNoMbuf
	for c, v := range d.hw.port.Counters() {
		host[ports.Counter(c).String()] = v
	}
	return s, nil
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
	for i, n := range sc.Violations {
		c["violation "+server.ViolationName(i)] = n
	}
	return c
}
