package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"opentoe/test/lab"
)

// The set-up that configs/quickstart.yaml describes, and its other end.
const (
	configFile = "configs/quickstart.yaml"
	runDir     = "/run/opentoe"
	peerName   = "toe-peer"
	nearIf     = "toe0"
	farIf      = "toe-wire"
	mirrorIf   = "toemon0"
	toeAddr    = "10.99.0.1"
	toeAddr6   = "fd99::1"
	peerAddr   = "10.99.0.2"
	firstPort  = 8080 // nginx on the TOE gets this port or the next that is free
	loginPort  = 2222 // of a server on the kernel, likewise
	peerPort   = 8081 // nginx on the kernel
	fileBytes  = 1 << 30
	smallFiles = 200
	parallel   = 20
)

// scratch is where the demo keeps its files: one place, so that a later run finds what a killed
// one has left.
func scratch() string { return filepath.Join(os.TempDir(), "opentoe-demo") }

type demo struct {
	lab    *lab.Lab
	port   int // of nginx on the TOE
	toed   *lab.Toed
	nginx  *lab.Process
	tcp    *lab.Process // tcpdump on the mirror interface
	pcapng *lab.Process // toectl capture
	sums   map[string]string
	rows   []row
	kernel kernelLife
	beside []string                // what it has done, for the report
	fail   context.CancelCauseFunc // ends the show
}

// step is one part of the show.
type step struct {
	title string
	run   func(ctx context.Context) error
}

func newDemo(fail context.CancelCauseFunc) (*demo, error) {
	root, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	if err := lab.CheckPrograms("ip", "ss", "sysctl", "ethtool", "ping", "tcpdump", "nginx", "curl", "nstat"); err != nil {
		return nil, err
	}
	l, err := lab.New(lab.Config{
		Root: root, Dir: scratch(), Far: peerName,
		Wire: lab.Wire{NearIf: nearIf, FarIf: farIf, Address: peerAddr + "/24", Address6: "fd99::2/64", Shared: true},
	})
	if err != nil {
		return nil, err
	}
	return &demo{lab: l, port: freePort(firstPort), sums: map[string]string{}, fail: fail}, nil
}

// freePort returns the first port on which nobody on this machine listens: the placeholders of nginx on
// the TOE take it in the kernel, too.
func freePort(port int) int {
	for ; ; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err == nil {
			l.Close()
			return port
		}
	}
}

func (d *demo) steps() []step {
	return []step{
		{"files: 1 GiB each way, " + fmt.Sprint(smallFiles) + " small ones", d.files},
		{"kernel: " + nearIf + " gets the address " + toeAddr + ", a TCP and a DNS server, and is pinged from now on", d.startKernel},
		{"toed --config " + configFile + ": takes from " + nearIf + " what is the TOE's, and leaves the rest", d.startToed},
		{"sniffer: tcpdump on " + mirrorIf + ", toectl capture into a pcapng file", d.startSniffers},
		{"toerun nginx: master and 2 workers, on the same address", d.startNginx},
		{"passive: kernel curl downloads 1 GiB from nginx on the TOE", d.download},
		{"passive: kernel curl uploads 1 GiB to nginx on the TOE", d.upload},
		{fmt.Sprintf("passive: %d small requests over %d parallel connections", smallFiles, parallel), d.small},
		{"active: curl on the TOE downloads 1 GiB from a kernel nginx", d.active},
		{"kernel: what it did on " + toeAddr + " all the while", d.kernelToo},
		{"sniffer: the handshakes", d.handshakes},
		{"result", d.report},
	}
}

func (d *demo) files(context.Context) error {
	for _, dir := range []string{"docs", "down"} {
		if err := os.MkdirAll(d.lab.Path(dir), 0o755); err != nil {
			return err
		}
	}
	sum, err := lab.WriteRandom(d.lab.Path("docs", "big"), fileBytes, 1)
	if err != nil {
		return err
	}
	d.sums["big"] = sum
	for i := range smallFiles {
		name := fmt.Sprintf("small%d", i+1)
		if d.sums[name], err = lab.WriteRandom(d.lab.Path("docs", name), 1000, uint64(i)); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) startToed(ctx context.Context) (err error) {
	if d.toed, err = d.lab.StartToed(ctx, filepath.Join(d.lab.Root, configFile), runDir); err != nil {
		return err
	}
	go func() { // nothing that follows could succeed
		<-d.toed.Done()
		d.fail(fmt.Errorf("toed ended early: %v%s", d.toed.Kill(), d.toed.LastLine()))
	}()
	s, err := d.toed.Status(ctx)
	if err != nil {
		return err
	}
	for _, p := range s.Ports {
		fmt.Printf("   port %s through %s, beside the kernel\n", p.Name, p.Driver)
	}
	return nil
}

func (d *demo) startNginx(ctx context.Context) error {
	words, err := lab.Nginx{Name: "nginx-toe", Port: d.port, Workers: 2, Docs: d.lab.Path("docs")}.Words(d.lab)
	if err != nil {
		return err
	}
	words = d.lab.Toerun(d.toed.Socket(), words...)
	if d.nginx, err = d.lab.Start(d.lab.NearHost, words[0], words[1:]...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return d.nginx.WaitFor(ctx, func() error { return d.toed.Listening(ctx, d.port) })
}
