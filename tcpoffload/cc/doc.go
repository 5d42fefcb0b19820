// Package cc holds congestion-control algorithms as pointer-free state plus functions.
//
// A [State] lives inside a connection's control block. The engine tells it what happened: OnAck with a
// [Sample] for every ACK that delivers something, OnLost for what is found lost, OnLoss and OnRecovered
// around a fast recovery, OnRTO, OnECN, OnRestart and OnIdle before sending goes on, OnUndo when nothing
// had been lost. It reads Cwnd, Ssthresh, PacingRate and SendQuantum. Loss detection is not here but in
// the engine, and so is how many segments leave during recovery, unless OwnsRecovery.
//
// Arithmetic is integer only, so results are the same on every machine. Windows are octets, rates octets
// per second, computed without overflow up to 100 Gb/s and beyond.
//
//   - Reno: RFC 5681 with appropriate byte counting (RFC 3465) and NewReno's exit (RFC 6582).
//   - Cubic: RFC 9438, in units of 61 µs of elapsed time.
//   - DCTCP: RFC 8257.
//   - BBR: draft-ietf-ccwg-bbr, version 3.
//
// The first three share HyStart++ (RFC 9406) for the first slow start and the validation of the window
// (RFC 7661).
package cc
