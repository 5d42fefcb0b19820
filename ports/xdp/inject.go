package xdp

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// context is struct xdp_md.
type context struct {
	Data, DataEnd, DataMeta, Ingress, Queue, Egress uint32
}

// injector lets frames enter the kernel as if the interface had received them and the program had let them
// pass: a run of a program that passes everything, on live frames (Linux 5.18).
type injector struct {
	pass    *ebpf.Program
	ingress uint32 // the interface's index
}

func newInjector(index int) (injector, error) {
	const xdpPass = 2
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "pass", Type: ebpf.XDP,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()},
	})
	return injector{p, uint32(index)}, err
}

// Inject gives the kernel a frame that the program has redirected and that is not the TOE's after all. It
// may be called from any goroutine until Close.
func (s *Steering) Inject(frame []byte) error {
	_, err := s.injector.pass.Run(&ebpf.RunOptions{
		Data: frame, Context: context{DataEnd: uint32(len(frame)), Ingress: s.injector.ingress},
		Repeat: 1, BatchSize: 1, Flags: unix.BPF_F_TEST_XDP_LIVE_FRAMES,
	})
	return err
}
