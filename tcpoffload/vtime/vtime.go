// Package vtime is the engine's notion of time: nanoseconds on a clock that somebody else reads.
//
// It has no clock source. The worker reads its clock once per iteration and passes the instant
// down; simulations pass whatever instant they like.
package vtime

import "time"

// Time is an instant in nanoseconds since an arbitrary origin. The zero Time is the origin;
// [Never] is later than every deadline.
type Time int64

// Duration is a span in nanoseconds. It converts to and from [time.Duration] by plain conversion.
type Duration int64

// Units of Duration.
const (
	Nanosecond  Duration = 1
	Microsecond          = 1000 * Nanosecond
	Millisecond          = 1000 * Microsecond
	Second               = 1000 * Millisecond
	Minute               = 60 * Second
)

// Never is the deadline of a timer that is not running.
const Never Time = 1<<63 - 1

// Add returns t+d. Precondition: t is not [Never].
func (t Time) Add(d Duration) Time { return t + Time(d) }

// Sub returns t-u.
func (t Time) Sub(u Time) Duration { return Duration(t - u) }

// Before reports whether t is earlier than u.
func (t Time) Before(u Time) bool { return t < u }

// After reports whether t is later than u.
func (t Time) After(u Time) bool { return t > u }

// String formats d as [time.Duration] does.
func (d Duration) String() string { return time.Duration(d).String() }
