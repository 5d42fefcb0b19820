package shm

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Errors of opening a region; they come wrapped.
var (
	ErrLayout   = errors.New("memory file is not laid out as toe_shm.h says")
	ErrGeometry = errors.New("region geometry out of range")
)

// Geometry says how many of each thing a region holds.
type Geometry struct {
	Workers int // 1 to MaxWorkers
	Slots   int // slot 0, never used, included; at least 2
	Chunks  int // chunk 0, never used, included; at least 2 and below DirChunk<<16
	EQs     int // 1 to MaxEQs
}

// maxDirChunks bounds chunk numbers to the 28 bits that a directory reference has for them.
const maxDirChunks = 1 << 28

func (g Geometry) check() error {
	if g.Workers < 1 || g.Workers > MaxWorkers || g.Slots < 2 || g.Slots > 1<<24 ||
		g.Chunks < 2 || g.Chunks > maxDirChunks || g.EQs < 1 || g.EQs > MaxEQs {
		return fmt.Errorf("shm: %+v: %w", g, ErrGeometry)
	}
	return nil
}

// layout returns the header's offsets and sizes for g.
func (g Geometry) layout() Header {
	h := Header{
		Magic: Magic, Abi: ABI,
		Nworkers: uint32(g.Workers), Nslots: uint32(g.Slots),
		Nchunks: uint32(g.Chunks), Neqs: uint32(g.EQs),
	}
	off := uint64(SizeofHeader)
	place := func(size, n int) uint64 {
		at := off
		off += uint64(size) * uint64(n)
		return at
	}
	h.CmdqOff = place(SizeofCmdQ, g.Workers)
	h.EqOff = place(SizeofEQ, g.EQs)
	h.SlotLoanOff = place(SizeofLoan, g.Workers)
	h.ChunkLoanOff = place(SizeofLoan, g.Workers)
	h.SlotOff = place(SizeofSlot, g.Slots)
	const page = 4096
	off = (off + page - 1) &^ (page - 1)
	h.ChunkOff = place(ChunkBytes, g.Chunks)
	h.RegionBytes = off
	return h
}

// Bytes returns the size of a region of this geometry.
func (g Geometry) Bytes() uint64 { h := g.layout(); return h.RegionBytes }

// Region is a mapped memory file. The slices alias it and die with Close.
type Region struct {
	Geometry
	Header     *Header
	CmdQs      []CmdQ // one per worker
	EQs        []EQ
	SlotLoans  []Loan // one per worker
	ChunkLoans []Loan // one per worker
	Slots      []Slot

	mem    []byte
	chunks []byte   // Chunks * ChunkBytes
	words  []uint32 // the same memory, as directories
}

// Create makes a sealed memory file for a region with the given number and returns it mapped,
// with a descriptor that the caller owns. The token in the header is random.
func Create(g Geometry, id uint32) (*Region, int, error) {
	if err := g.check(); err != nil {
		return nil, -1, err
	}
	h := g.layout()
	h.RegionId = id
	if _, err := rand.Read(h.Token[:]); err != nil {
		return nil, -1, fmt.Errorf("shm: token: %w", err)
	}
	fd, err := CreateFile("opentoe-region", int64(h.RegionBytes))
	if err != nil {
		return nil, -1, err
	}
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		unix.Close(fd)
		return nil, -1, fmt.Errorf("shm: seal region: %w", err)
	}
	r, err := mapRegion(fd, &h)
	if err != nil {
		unix.Close(fd)
		return nil, -1, err
	}
	*r.Header = h
	for i := range r.CmdQs {
		for p := range r.CmdQs[i].Entry {
			r.CmdQs[i].Entry[p].Stamp = uint32(p)
		}
	}
	return r, fd, nil
}

// Open maps the region that toed handed over as fd, which the caller keeps. The header is
// checked: magic, ABI, and that every part lies where this ABI puts it.
func Open(fd int) (*Region, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("shm: region: %w", err)
	}
	head, err := unix.Mmap(fd, 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("shm: map region header: %w", err)
	}
	h := *headerAt(head)
	_ = unix.Munmap(head)
	if h.Magic != Magic || h.Abi != ABI {
		return nil, fmt.Errorf("shm: magic %#x, abi %d: %w", h.Magic, h.Abi, ErrLayout)
	}
	g := Geometry{
		Workers: int(h.Nworkers), Slots: int(h.Nslots), Chunks: int(h.Nchunks), EQs: int(h.Neqs),
	}
	if err := g.check(); err != nil {
		return nil, err
	}
	want := g.layout()
	want.RegionId, want.Token, want.Detached = h.RegionId, h.Token, h.Detached
	if h != want || uint64(st.Size) != h.RegionBytes {
		return nil, fmt.Errorf("shm: region of %d octets: %w", st.Size, ErrLayout)
	}
	return mapRegion(fd, &h)
}

// CreateFile makes an anonymous memory file of size octets that can be sealed.
func CreateFile(name string, size int64) (int, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, fmt.Errorf("shm: create %s: %w", name, err)
	}
	if err := unix.Ftruncate(fd, size); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("shm: size of %s: %w", name, err)
	}
	return fd, nil
}

// mapRegion maps fd as h describes. Precondition: h was made by layout, or equals what it makes.
func mapRegion(fd int, h *Header) (*Region, error) {
	mem, err := unix.Mmap(fd, 0, int(h.RegionBytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("shm: map region of %d octets: %w", h.RegionBytes, err)
	}
	g := Geometry{
		Workers: int(h.Nworkers), Slots: int(h.Nslots), Chunks: int(h.Nchunks), EQs: int(h.Neqs),
	}
	r := &Region{Geometry: g, mem: mem, Header: headerAt(mem)}
	r.CmdQs = cmdQsAt(mem[h.CmdqOff:], g.Workers)
	r.EQs = eqsAt(mem[h.EqOff:], g.EQs)
	r.SlotLoans = loansAt(mem[h.SlotLoanOff:], g.Workers)
	r.ChunkLoans = loansAt(mem[h.ChunkLoanOff:], g.Workers)
	r.Slots = slotsAt(mem[h.SlotOff:], g.Slots)
	r.chunks = mem[h.ChunkOff:][:g.Chunks*ChunkBytes]
	r.words = wordsAt(r.chunks)
	return r, nil
}

// Close unmaps the region. Nothing of it may be used afterwards.
func (r *Region) Close() error {
	mem := r.mem
	*r = Region{}
	return unix.Munmap(mem)
}

// Populate touches the header, the command queues and loans, and the first event queues, slots and
// chunks, so that using them later does not fault. It is best effort.
func (r *Region) Populate(eqs, slots, chunks int) {
	h := r.Geometry.layout()
	eqEnd := h.EqOff + uint64(min(eqs, r.Geometry.EQs))*SizeofEQ
	_ = unix.Madvise(r.mem[:eqEnd], unix.MADV_POPULATE_WRITE)
	page := uint64(os.Getpagesize())
	start, end := h.SlotLoanOff&^(page-1), h.SlotOff+uint64(min(slots, r.Geometry.Slots))*SizeofSlot
	_ = unix.Madvise(r.mem[start:end], unix.MADV_POPULATE_WRITE)
	_ = unix.Madvise(r.chunks[:min(chunks, r.Chunks)*ChunkBytes], unix.MADV_POPULATE_WRITE)
}

// Discard gives the memory of n chunks from chunk c on back to the system; they read as zeros then.
// fd is the region's memory file.
func (r *Region) Discard(fd int, c uint32, n int) error {
	off := int64(len(r.mem)-len(r.chunks)) + int64(c)<<ChunkShift
	const mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	return unix.Fallocate(fd, mode, off, int64(n)<<ChunkShift)
}

// Detached reports whether toed has dropped the region.
func (r *Region) Detached() bool { return atomic.LoadUint32(&r.Header.Detached) != 0 }
