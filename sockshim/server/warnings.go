package server

import (
	"log/slog"
	"sync"
	"time"
)

// warningsAtOnce is how many warnings a second clients may cause; what is beyond is counted, and the next warning
// says how many those were. Anybody may attach, and misbehave, as often as he likes: the log is not his to fill.
const warningsAtOnce = 10

// warnings are those that clients cause.
type warnings struct {
	mu     sync.Mutex
	since  time.Time // the second that n is of
	n      int
	unsaid int
}

// warn logs what a client has done.
func (w *warnings) warn(log *slog.Logger, msg string, args ...any) {
	if unsaid, ok := w.allow(time.Now()); ok {
		if unsaid > 0 {
			args = append(args, "others_not_logged", unsaid)
		}
		log.Warn(msg, args...)
	}
}

// allow reports whether there may be one more, and how many there were since the last that might not.
func (w *warnings) allow(now time.Time) (unsaid int, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Sub(w.since) >= time.Second {
		w.since, w.n = now, 0
	}
	if w.n >= warningsAtOnce {
		w.unsaid++
		return 0, false
	}
	w.n++
	unsaid, w.unsaid = w.unsaid, 0
	return unsaid, true
}
