package shm

import "sync/atomic"

// LoanWriter is toed's end of a loan queue.
type LoanWriter struct {
	l    *Loan
	prod uint32
}

// NewLoanWriter returns a writer for l. Precondition: l is fresh.
func NewLoanWriter(l *Loan) LoanWriter { return LoanWriter{l: l} }

// Len returns how many numbers the client has not taken; ok is false when its cursor is nonsense.
func (w *LoanWriter) Len() (n uint32, ok bool) {
	n = w.prod - atomic.LoadUint32(&w.l.Cons)
	return n, n <= LoanEntries
}

// Push lends v. Precondition: Len() < LoanEntries.
func (w *LoanWriter) Push(v uint32) {
	atomic.StoreUint32(&w.l.Entry[w.prod%LoanEntries], v)
	w.prod++
	atomic.StoreUint32(&w.l.Prod, w.prod)
}

// Take takes a number out of the loan, for a client; 0 means that the loan is empty.
func (l *Loan) Take() uint32 {
	for {
		c := atomic.LoadUint32(&l.Cons)
		if c == atomic.LoadUint32(&l.Prod) {
			return 0
		}
		v := atomic.LoadUint32(&l.Entry[c%LoanEntries])
		if atomic.CompareAndSwapUint32(&l.Cons, c, c+1) {
			return v
		}
	}
}

// Empty reports, to a client, whether nothing is lent.
func (l *Loan) Empty() bool { return atomic.LoadUint32(&l.Cons) == atomic.LoadUint32(&l.Prod) }
