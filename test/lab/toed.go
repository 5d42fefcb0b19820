package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Toed is a running toed.
type Toed struct {
	*Process
	lab    *Lab
	RunDir string
}

// startTime is how long toed may take to answer, DPDK's set-up included.
const startTime = 20 * time.Second

// StartToed starts toed on the near host with the configuration file, whose runtime_dir is runDir, and
// waits until it answers.
func (l *Lab) StartToed(ctx context.Context, configFile, runDir string) (*Toed, error) {
	return l.StartToedOn(ctx, l.NearHost, configFile, runDir)
}

// StartToedOn is StartToed on host h.
func (l *Lab) StartToedOn(ctx context.Context, h Host, configFile, runDir string) (*Toed, error) {
	t := &Toed{lab: l, RunDir: runDir}
	// A toed that ends in order removes its directory; one that was killed cannot.
	l.Cleanup(func() error {
		if t.Process == nil || t.cmd.ProcessState.Exited() {
			return nil
		}
		return os.RemoveAll(runDir)
	})
	p, err := l.Start(h, l.Bin("toed"), "--config", configFile)
	if err != nil {
		return nil, err
	}
	t.Process = p
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	err = p.WaitFor(ctx, func() error { _, err := t.Status(ctx); return err })
	return t, err
}

// WriteConfig writes a configuration for toed into the lab's folder and returns its name and
// runtime directory. body follows the runtime_dir line.
func (l *Lab) WriteConfig(body string) (file, runDir string, err error) {
	return l.WriteConfigAs("toed", body)
}

// WriteConfigAs is WriteConfig for one of several toeds.
func (l *Lab) WriteConfigAs(name, body string) (file, runDir string, err error) {
	file, runDir = l.Path(name+".yaml"), l.Path(name+"-run")
	err = os.WriteFile(file, []byte("runtime_dir: "+runDir+"\n"+body), 0o644)
	return file, runDir, err
}

// Socket returns where programs attach.
func (t *Toed) Socket() string { return filepath.Join(t.RunDir, "toed.sock") }

// Toectl runs toectl and returns its standard output.
func (t *Toed) Toectl(ctx context.Context, args ...string) (string, error) {
	args = append([]string{"--socket", filepath.Join(t.RunDir, "toectl.sock")}, args...)
	return t.lab.NearHost.Output(ctx, t.lab.Bin("toectl"), args...)
}

// Status is the part of `toectl status --json` that the lab looks at.
type Status struct {
	Clients     int               `json:"clients"`
	Connections int               `json:"connections"`
	Offloaded   uint64            `json:"offloaded"`
	Refused     map[string]uint64 `json:"refused"`
	MemoryBytes uint64            `json:"memory_bytes"`
	Ports       []struct {
		Name   string `json:"name"`
		Driver string `json:"driver"`
		LinkUp bool   `json:"link_up"`
	} `json:"ports"`
}

// Socket is the part of a row of `toectl ss --json` that the lab looks at.
type Socket struct {
	State   string `json:"state"`
	Local   string `json:"local"`
	Remote  string `json:"remote"`
	Program string `json:"program"`
	PID     int    `json:"pid"`
}

// Stats is the part of `toectl stats --json` that the lab looks at.
type Stats struct {
	TCP     map[string]uint64 `json:"tcp"`     // RFC 4022 names and more
	Drops   map[string]uint64 `json:"drops"`   // by reason
	Device  map[string]uint64 `json:"device"`  // the worker loops
	Mirror  map[string]uint64 `json:"mirror"`  // frames copied and lost
	Clients map[string]uint64 `json:"sockets"` // the socket layer

	Ports   map[string]map[string]uint64 `json:"ports"` // frames and octets on each wire
	Workers []struct {
		BusyNS   int64 `json:"busy_ns"`
		IdleNS   int64 `json:"idle_ns"`
		AsleepNS int64 `json:"asleep_ns"`
	} `json:"workers"`
}

// Status asks for toed's summary.
func (t *Toed) Status(ctx context.Context) (s Status, err error) {
	err = t.query(ctx, &s, "status")
	return s, err
}

// Sockets asks for the offloaded connections and listeners.
func (t *Toed) Sockets(ctx context.Context) (s []Socket, err error) {
	err = t.query(ctx, &s, "ss", "--all")
	return s, err
}

// Stats asks for the counters.
func (t *Toed) Stats(ctx context.Context) (s Stats, err error) {
	err = t.query(ctx, &s, "stats")
	return s, err
}

func (t *Toed) query(ctx context.Context, into any, command ...string) error {
	out, err := t.Toectl(ctx, append([]string{"--json"}, command...)...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("toectl --json %s: %w", strings.Join(command, " "), err)
	}
	return nil
}

// Listening returns nil if a program listens on port of the TOE.
func (t *Toed) Listening(ctx context.Context, port int) error {
	sockets, err := t.Sockets(ctx)
	if err != nil {
		return err
	}
	for _, s := range sockets {
		if s.State == "LISTEN" && strings.HasSuffix(s.Local, fmt.Sprintf(":%d", port)) {
			return nil
		}
	}
	return fmt.Errorf("nobody listens on port %d of the TOE", port)
}
