package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// handshake matches what opens and ends connections, so that the capture stays short.
const handshake = "tcp[tcpflags] & (tcp-syn|tcp-fin|tcp-rst) != 0"

func (d *demo) startSniffers(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	d.tcp, err = d.lab.Start(d.lab.NearHost, "tcpdump", "-i", mirrorIf, "-n", "-l", "--immediate-mode", handshake)
	if err != nil {
		return err
	}
	if err := d.tcp.WaitFor(ctx, func() error { return said(d.tcp.Said("listening on"), "tcpdump does not listen") }); err != nil {
		return err
	}
	d.pcapng, err = d.lab.Start(d.lab.NearHost, d.lab.Bin("toectl"), "capture", "-w", d.capture(), handshake)
	if err != nil {
		return err
	}
	return d.pcapng.WaitFor(ctx, func() error { return notEmpty(d.capture()) })
}

func (d *demo) capture() string { return d.lab.Path("handshakes.pcapng") }

// handshakes shows what both sniffers saw of the active and of the passive opens.
func (d *demo) handshakes(ctx context.Context) error {
	// The streams are buffered on their way: wait until the last connection's end has come.
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	fromInterface := func() error { return d.bothDirections(d.tcp.Text()) }
	if err := d.tcp.WaitFor(ctx, fromInterface); err != nil {
		return fmt.Errorf("interface %s: %w", mirrorIf, err)
	}
	if err := d.pcapng.WaitFor(ctx, func() error {
		out, err := d.lab.NearHost.Output(ctx, "tcpdump", "-n", "-r", d.capture())
		return errors.Join(err, d.bothDirections(out))
	}); err != nil {
		return fmt.Errorf("pcapng file: %w", err)
	}
	for _, e := range d.expected() {
		fmt.Println("   " + firstLine(d.tcp.Text(), e.arrow, e.flags))
	}
	return nil
}

// segment is one that a sniffer has to have seen, by what tcpdump's line of it contains.
type segment struct{ what, arrow, flags string }

// expected lists SYN and SYN-ACK of a passive and of an active open.
func (d *demo) expected() []segment {
	toe, peer := fmt.Sprintf("%s.%d", toeAddr, d.port), fmt.Sprintf("%s.%d", peerAddr, peerPort)
	return []segment{
		{"SYN of a passive open", "> " + toe + ":", "Flags [S],"},
		{"SYN-ACK of a passive open", "IP " + toe + " >", "Flags [S.],"},
		{"SYN of an active open", "> " + peer + ":", "Flags [S],"},
		{"SYN-ACK of an active open", "IP " + peer + " >", "Flags [S.],"},
	}
}

// bothDirections checks that dump has every expected segment.
func (d *demo) bothDirections(dump string) error {
	for _, e := range d.expected() {
		if firstLine(dump, e.arrow, e.flags) == "" {
			return fmt.Errorf("no %s was seen", e.what)
		}
	}
	return nil
}

// firstLine returns the first line of text that contains all parts, "" for none.
func firstLine(text string, parts ...string) string {
	for _, line := range strings.Split(text, "\n") {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		if all {
			return line
		}
	}
	return ""
}

func said(ok bool, otherwise string) error {
	if !ok {
		return errors.New(otherwise)
	}
	return nil
}

func notEmpty(file string) error {
	st, err := os.Stat(file)
	if err == nil && st.Size() == 0 {
		err = fmt.Errorf("%s is empty", file)
	}
	return err
}
