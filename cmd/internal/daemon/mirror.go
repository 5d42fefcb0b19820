package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"opentoe/cmd/internal/ctl"
	"opentoe/ports"
)

// openMirror makes the mirror, and the sinks that the configuration names.
func (d *Daemon) openMirror() error {
	dev := d.hw.device
	var names []string
	for _, p := range d.cfg.Ports {
		names = append(names, p.Name)
	}
	var err error
	d.mirror, err = ports.NewMirror(ports.MirrorConfig{
		Ports:   names,
		Workers: dev.Info().Workers,
		Install: func(on bool) {
			d.sniffing.Store(on)
			if on {
				dev.SetTaps(d.mirror)
			} else {
				dev.SetTaps()
			}
		},
	})
	if err != nil {
		return err
	}
	d.onClose(func() error { d.mirror.Close(); return nil })
	opt := ports.SinkOptions{SnapLen: d.cfg.Mirror.SnapLen}
	if name := d.cfg.Mirror.Interface; name != "" {
		if _, err := d.mirror.AddInterface(name, d.widest(), opt); err != nil {
			return fmt.Errorf("mirror.interface: %w", err)
		}
	}
	if name := d.cfg.Mirror.File; name != "" {
		return d.mirrorToFile(name, opt)
	}
	return nil
}

// widest returns the largest MTU of all ports.
func (d *Daemon) widest() (mtu int) {
	for _, p := range d.hw.device.Info().Ports {
		mtu = max(mtu, p.MTU)
	}
	return mtu
}

func (d *Daemon) mirrorToFile(name string, opt ports.SinkOptions) error {
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("mirror.file: %w", err)
	}
	sink, err := d.mirror.AddSink(f, opt)
	if err != nil {
		return errors.Join(fmt.Errorf("mirror.file: %w", err), f.Close())
	}
	d.onClose(func() error { return errors.Join(sink.Close(), f.Close()) })
	return nil
}

// Capture streams pcapng until ctx ends or the writer fails. It implements [ctl.Daemon].
func (d *Daemon) Capture(ctx context.Context, filter string, snapLen int, start func() io.Writer) error {
	prog, err := ports.CompileFilter(ctx, filter)
	if err != nil {
		return fmt.Errorf("%w: %w", err, ctl.ErrRequest)
	}
	if snapLen == 0 {
		snapLen = d.cfg.Mirror.SnapLen
	}
	sink, err := d.mirror.AddSink(start(), ports.SinkOptions{SnapLen: snapLen, Filter: prog})
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-sink.Done():
	}
	return sink.Close()
}
