package shm

import "sync/atomic"

// A directory reference is rx_dir or tx_dir: 0 for the entries in the slot, else the level (1 or
// 2) in the upper four bits and the chunk of the directory in the others.
const dirLevelShift = 28

// MakeDir returns the reference of the directory of the given level in chunk c.
// Precondition: level is 1 or 2.
func MakeDir(level int, c uint32) uint32 { return uint32(level)<<dirLevelShift | c }

// DirLevel returns the level of a directory reference.
func DirLevel(dir uint32) int { return int(dir >> dirLevelShift) }

// DirRef returns the chunk of a directory reference; 0 for level 0.
func DirRef(dir uint32) uint32 { return dir & (1<<dirLevelShift - 1) }

// DirSpan returns how many chunks in a row a directory of the level can name: a stream whose
// octets touch more needs the next level.
func DirSpan(level int) uint64 {
	switch level {
	case 0:
		return DirInline
	case 1:
		return DirChunk
	default:
		return DirChunk * DirChunk
	}
}

// DirEntries returns chunk c as a directory. Precondition: c < Chunks.
func (r *Region) DirEntries(c uint32) *[DirChunk]uint32 {
	return (*[DirChunk]uint32)(r.words[c*DirChunk:])
}

// Chunk returns the octets of chunk c. Precondition: c < Chunks.
func (r *Region) Chunk(c uint32) []byte {
	off := uint64(c) << ChunkShift
	return r.chunks[off : off+ChunkBytes : off+ChunkBytes]
}

// Entry returns the directory entry of the chunk that holds octets [n, n+1) * ChunkBytes of a
// stream, or nil when dir or a directory of it names no chunk of the region.
func (r *Region) Entry(inline *[DirInline]uint32, dir uint32, n uint64) *uint32 {
	c := DirRef(dir)
	switch DirLevel(dir) {
	case 0:
		return &inline[n%DirInline]
	case 1:
		if c == 0 || c >= uint32(r.Chunks) {
			return nil
		}
		return &r.DirEntries(c)[n%DirChunk]
	case 2:
		if c == 0 || c >= uint32(r.Chunks) {
			return nil
		}
		sub := atomic.LoadUint32(&r.DirEntries(c)[n/DirChunk%DirChunk])
		if sub == 0 || sub >= uint32(r.Chunks) {
			return nil
		}
		return &r.DirEntries(sub)[n%DirChunk]
	}
	return nil
}

// chunkAt returns the octets from position pos to the end of pos's chunk; nil when the directory
// does not lead to a chunk.
func (r *Region) chunkAt(inline *[DirInline]uint32, dir uint32, pos uint64) []byte {
	e := r.Entry(inline, dir, pos>>ChunkShift)
	if e == nil {
		return nil
	}
	c := atomic.LoadUint32(e) &^ DirWriting
	if c == 0 || c >= uint32(r.Chunks) {
		return nil
	}
	return r.Chunk(c)[pos%ChunkBytes:]
}

// ReadStream copies the octets from position pos of a stream into b; false when the directory
// does not lead to them all.
func (r *Region) ReadStream(inline *[DirInline]uint32, dir uint32, pos uint64, b []byte) bool {
	for len(b) > 0 {
		c := r.chunkAt(inline, dir, pos)
		if c == nil {
			return false
		}
		n := copy(b, c)
		b, pos = b[n:], pos+uint64(n)
	}
	return true
}

// WriteStream copies b to position pos of a stream; false when the directory does not lead to
// chunks for all of it.
func (r *Region) WriteStream(inline *[DirInline]uint32, dir uint32, pos uint64, b []byte) bool {
	for len(b) > 0 {
		c := r.chunkAt(inline, dir, pos)
		if c == nil {
			return false
		}
		n := copy(c, b)
		b, pos = b[n:], pos+uint64(n)
	}
	return true
}
