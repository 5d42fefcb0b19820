// Package seq is 32-bit sequence-number arithmetic (RFC 9293 §3.4): numbers live on a circle and
// are compared by the sign of their difference, never by <.
package seq

// Num is a sequence number in host order.
type Num uint32

// Add returns n advanced by d octets, modulo 2^32.
func (n Num) Add(d uint32) Num { return n + Num(d) }

// Sub returns the signed distance from m to n: positive when n is after m.
// Precondition: the true distance is below 2^31.
func (n Num) Sub(m Num) int32 { return int32(n - m) }

// LT reports n < m on the circle.
func (n Num) LT(m Num) bool { return int32(n-m) < 0 }

// LEQ reports n <= m on the circle.
func (n Num) LEQ(m Num) bool { return int32(n-m) <= 0 }

// GT reports n > m on the circle.
func (n Num) GT(m Num) bool { return int32(n-m) > 0 }

// GEQ reports n >= m on the circle.
func (n Num) GEQ(m Num) bool { return int32(n-m) >= 0 }

// InWindow reports lo <= n < lo+size on the circle.
func (n Num) InWindow(lo Num, size uint32) bool { return uint32(n-lo) < size }

// Max returns the later of n and m.
func Max(n, m Num) Num {
	if n.GT(m) {
		return n
	}
	return m
}

// Min returns the earlier of n and m.
func Min(n, m Num) Num {
	if n.LT(m) {
		return n
	}
	return m
}
