package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"opentoe/cmd/internal/config"
	"opentoe/cmd/internal/ctl"
	"opentoe/hwregs"
	"opentoe/ports"
	"opentoe/sockshim/server"
	"opentoe/toe"
)

// controlThreads is how many Go threads may run beside the workers, which are busy for good.
const controlThreads = 2

// Daemon is a running toed.
type Daemon struct {
	cfg      *config.Config
	log      *slog.Logger
	started  time.Time
	bank     *hwregs.Bank
	registry *toe.Registry
	sockets  *server.Server
	policy   *toe.Policy
	loading  sync.Mutex // one load at a time; guards origin
	origin   origin
	hw       *hardware
	mirror   *ports.Mirror
	sniffing atomic.Bool // the mirror has sinks

	undo []func() error
}

// Start builds and activates everything. Programs can attach once [Daemon.Run] is called. On
// failure nothing is left behind.
func Start(cfg *config.Config, log *slog.Logger) (*Daemon, error) {
	d := &Daemon{cfg: cfg, log: log, started: time.Now(), bank: hwregs.New(), registry: toe.NewRegistry()}
	runtime.GOMAXPROCS(cfg.Workers.Count + controlThreads)
	for _, step := range []func() error{d.makeRuntimeDir, d.openServer, d.openHardware, d.openMirror, d.activate, d.listen} {
		if err := step(); err != nil {
			return nil, errors.Join(err, d.Close())
		}
	}
	return d, nil
}

// Run serves programs until ctx ends.
func (d *Daemon) Run(ctx context.Context) error {
	for i, p := range d.cfg.Ports {
		device, addresses := p.Device, p.Addresses
		if d.hw.soft != nil {
			device, addresses = d.hw.nics[i].description(), d.hw.nics[i].port.Prefixes()
		}
		d.log.Info("ready", "port", p.Name, "device", device, "addresses", addresses, "socket", d.sockets.SocketPath())
	}
	return d.sockets.Serve(ctx)
}

// Close resets what is still connected and undoes everything. It may be called more than once.
func (d *Daemon) Close() error {
	var errs []error
	for len(d.undo) > 0 {
		f := d.undo[len(d.undo)-1]
		d.undo = d.undo[:len(d.undo)-1]
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

func (d *Daemon) onClose(f func() error) { d.undo = append(d.undo, f) }

// makeRuntimeDir makes the directory, and removes it at the end if it was not there before.
func (d *Daemon) makeRuntimeDir() error {
	dir := d.cfg.RuntimeDir
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("runtime_dir: %w: run toed as a user who may write there, or choose another", err)
	}
	d.onClose(func() error {
		os.Remove(dir) // fails, rightly, when somebody else has put something there
		return nil
	})
	return nil
}

// openServer comes before the hardware: it is what notices that another toed runs.
func (d *Daemon) openServer() (err error) {
	if d.policy, err = toe.NewPolicy(d.cfg.Rules()); err != nil {
		return err
	}
	d.origin = origin{"the configuration at the start", d.started}
	clients := &d.cfg.Clients
	gid, err := clients.GID()
	if err != nil {
		return err
	}
	d.sockets, err = server.New(server.Config{
		Dir:          d.cfg.RuntimeDir,
		SocketMode:   clients.FileMode(),
		SocketGroup:  gid,
		Registry:     d.registry,
		Slots:        clients.Slots,
		Memory:       int64(clients.Memory),
		Clients:      clients.Max,
		UserClients:  clients.UserMax,
		UserSockets:  clients.UserSockets,
		UserMemory:   int64(clients.UserMemory),
		UserOpens:    clients.UserOpens,
		OverQuota:    map[string]server.OverQuota{"refuse": server.Refuse}[clients.OverQuota],
		AnyNamespace: clients.Namespaces == "any",
		Rules:        d.policy,
		Log:          d.log,
	})
	if err == nil {
		d.onClose(d.sockets.Close)
	}
	return err
}

func (d *Daemon) openHardware() (err error) {
	d.hw, err = openHardware(d.cfg, d.log)
	if err == nil {
		d.onClose(d.hw.close)
	}
	return err
}

func (d *Daemon) activate() error {
	name := d.hw.device.Name()
	if err := d.registry.RegisterSocketLayer(d.sockets); err != nil {
		return err
	}
	if err := d.registry.Register(d.hw.device); err != nil {
		return err
	}
	d.onClose(func() error { return d.registry.Unregister(name) })
	if err := d.registry.Activate(name); err != nil {
		return err
	}
	d.onClose(func() error { return d.registry.Deactivate(name) })
	d.hw.rehoming.Store(&rehoming{registry: d.registry, log: d.log})
	if err := d.bindRegisters(); err != nil {
		return err
	}
	d.bank.Enable()
	return nil
}

func (d *Daemon) listen() error {
	s, err := ctl.Listen(filepath.Join(d.cfg.RuntimeDir, config.OperatorSocket), d)
	if err == nil {
		d.onClose(s.Close)
	}
	return err
}
