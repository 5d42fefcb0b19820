// Package cc holds congestion-control algorithms as pointer-free state plus functions.
//
// A [State] lives inside a connection's control block. The engine tells it what happened by five
// hooks, OnAck, OnLoss, OnRTO, OnRecovered and OnIdle, and reads Cwnd and Ssthresh. Loss detection,
// and how many segments leave during recovery, is not here but in the engine.
//
// Arithmetic is integer only, so results are the same on every machine. Windows are octets.
//
//   - Reno: RFC 5681 with appropriate byte counting (RFC 3465) and NewReno's exit (RFC 6582).
//   - Cubic: RFC 9438 with fast convergence; window growth in milliseconds of elapsed time.
package cc
