package rtnl

import "time"

// Limits of the package.
const (
	// eventBuffer is the receive buffer of the notification socket in octets. When it overflows, all
	// tables are read again.
	eventBuffer = 4 << 20
	// settleTime is how long the follower waits for further notifications before it reads the tables, and
	// settleMax how long it does in all.
	settleTime, settleMax = 2 * time.Millisecond, 50 * time.Millisecond
	// readShare bounds the time spent on reading: one reading is followed by a pause this many times as
	// long, during which changes collect.
	readShare = 4
	// readTries is how often a table is read that changes while it is read. After that the next change
	// causes another reading.
	readTries = 5
	// answerTime is how long the kernel may take for an answer.
	answerTime = 2 * time.Second
	// maxRequests is how many requests about neighbours wait for the resolver. More are dropped and
	// counted; whoever waits for a neighbour asks again.
	maxRequests = 4096
	// maxAnswers is how many route answers are kept. When there are more, all are forgotten.
	maxAnswers = 8192
	// answerLife bounds the age of an answer, because redirects and path MTUs that the kernel learns are
	// not notified; refusalLife that of a refusal.
	answerLife, refusalLife = 10 * time.Second, time.Second
)
