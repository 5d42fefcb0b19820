package server

import (
	"hash/maphash"
	"sync/atomic"
)

// cookies maps SO_COOKIE to slots: open addressing with linear probing, power-of-two size. One
// worker writes; any goroutine may read: it retries when the version says that the table moved
// under it. So the kernel's message that some socket of the machine is gone costs a worker nothing
// unless the socket is ours.
//
// A cookie is what a client claims, so slots of several regions may have the same: a false claim does
// not take the place of a true one. Of one region's claims the last counts. So however many slots a
// client has, its claims lengthen nobody's search; and that it cannot choose cookies that stand
// close together is what the random seed is for.
type cookies struct {
	version atomic.Uint64 // odd while the writer is inside
	table   atomic.Pointer[[]cookieEntry]
	n       int
	seed    maphash.Seed
}

type cookieEntry struct{ key, place atomic.Uint64 } // key 0: empty

const cookiesInitial = 1024

// sure is set in a place when toed has the cookie from the kernel, or from root: the socket was opened. That of
// an accepted one is its client's word.
const sure = 1 << 31

// place is where a cookie's slot is: region in the upper half.
func place(region, slot uint32) uint64 { return uint64(region)<<32 | uint64(slot) }

func newCookies() *cookies {
	c := &cookies{seed: maphash.MakeSeed()}
	t := make([]cookieEntry, cookiesInitial)
	c.table.Store(&t)
	return c
}

// home returns where key would stand.
func (c *cookies) home(t []cookieEntry, key uint64) uint64 {
	return maphash.Comparable(c.seed, key) & uint64(len(t)-1)
}

// put adds a slot of a cookie, in the place of another one of its region, which it returns; 0 if there was none.
// Precondition: key is not 0. [worker]
func (c *cookies) put(key, place uint64) (was uint64) {
	t := *c.table.Load()
	c.version.Add(1)
	if 2*(c.n+1) > len(t) {
		t = c.grow(t)
	}
	was = c.insert(t, key, place)
	c.version.Add(1)
	return was
}

func (c *cookies) insert(t []cookieEntry, key, place uint64) (was uint64) {
	i := c.home(t, key)
	for t[i].key.Load() != 0 {
		if t[i].key.Load() == key && t[i].place.Load()>>32 == place>>32 {
			was = t[i].place.Load()
			t[i].place.Store(place)
			return was
		}
		i = (i + 1) & uint64(len(t)-1)
	}
	c.n++
	t[i].place.Store(place)
	t[i].key.Store(key)
	return 0
}

// grow doubles the table. It allocates: as rarely as a table doubles.
func (c *cookies) grow(old []cookieEntry) []cookieEntry {
	t := make([]cookieEntry, 2*len(old))
	c.n = 0
	for i := range old {
		if k := old[i].key.Load(); k != 0 {
			c.insert(t, k, old[i].place.Load())
		}
	}
	c.table.Store(&t)
	return t
}

// delete forgets a slot of a cookie; entries behind it move up so that no probe ends early. [worker]
func (c *cookies) delete(key, place uint64) {
	t := *c.table.Load()
	mask := uint64(len(t) - 1)
	i := c.home(t, key)
	for t[i].key.Load() != key || t[i].place.Load() != place {
		if t[i].key.Load() == 0 {
			return
		}
		i = (i + 1) & mask
	}
	c.version.Add(1)
	c.n--
	for j := (i + 1) & mask; t[j].key.Load() != 0; j = (j + 1) & mask {
		h := c.home(t, t[j].key.Load())
		if (j-h)&mask >= (j-i)&mask { // j may stand at i
			t[i].key.Store(t[j].key.Load())
			t[i].place.Store(t[j].place.Load())
			i = j
		}
	}
	t[i].key.Store(0)
	c.version.Add(1)
}

// get appends the places of a cookie to dst. [any thread]
func (c *cookies) get(dst []uint64, key uint64) []uint64 {
	for {
		v := c.version.Load()
		if v&1 != 0 {
			continue
		}
		found, t := dst, *c.table.Load()
		i := c.home(t, key)
		for range t {
			k := t[i].key.Load()
			if k == 0 {
				break
			}
			if k == key {
				found = append(found, t[i].place.Load())
			}
			i = (i + 1) & uint64(len(t)-1)
		}
		if c.version.Load() == v {
			return found
		}
	}
}
