package ctl

import "time"

// Policy is the offload policy that is in force.
type Policy struct {
	Source   string       `json:"source"` // file that it came from
	LoadedAt time.Time    `json:"loaded_at"`
	Loads    uint64       `json:"loads"`     // since the start
	PastHits uint64       `json:"past_hits"` // of rules that are not loaded any more
	Rules    []PolicyRule `json:"rules"`

	// ListenersChanged is how many listeners have other settings for their next connections by this load.
	ListenersChanged int  `json:"listeners_changed,omitempty"`
	DryRun           bool `json:"dry_run,omitempty"` // nothing was changed
}

// PolicyRule is one rule, with the keys of the configuration.
type PolicyRule struct {
	Index int               `json:"index"`
	Name  string            `json:"name,omitempty"`
	Match map[string]string `json:"match"` // empty: everything
	Set   map[string]string `json:"set"`
	Hits  uint64            `json:"hits"` // how often it was the first that matched since it was loaded
}

// PolicyFile is the text of a policy to load.
type PolicyFile struct {
	Name   string `json:"name"`
	Text   string `json:"text"`
	DryRun bool   `json:"dry_run"`
}

// PolicyQuestion asks what becomes of a socket.
type PolicyQuestion struct {
	Role    string `json:"role"`    // active or passive
	Local   string `json:"local"`   // ADDRESS:PORT; empty or without address: not known
	Remote  string `json:"remote"`  // ADDRESS:PORT; of a passive open: of the peer, or empty
	Program string `json:"program"` // path of the executable
	UID     uint32 `json:"uid"`
	GID     uint32 `json:"gid"`
	Cgroup  string `json:"cgroup"`

	Policy *PolicyFile `json:"policy,omitempty"` // ask this one instead of the one in force
}

// PolicyAnswer says it.
type PolicyAnswer struct {
	Rule    *PolicyRule `json:"rule,omitempty"` // nil: none matches
	Offload bool        `json:"offload"`
	Reason  string      `json:"reason,omitempty"` // why not
	Meaning string      `json:"meaning,omitempty"`
}

// Decline is a socket that was left to the kernel.
type Decline struct {
	Time    time.Time `json:"time"`
	Role    string    `json:"role"` // active or passive
	Local   string    `json:"local"`
	Remote  string    `json:"remote"` // of a listener "*"
	Reason  string    `json:"reason"`
	Meaning string    `json:"meaning"`
	Program string    `json:"program"`
	PID     int       `json:"pid"`
	UID     uint32    `json:"uid"`
	Gone    bool      `json:"gone,omitempty"`  // the process has ended
	Users   []User    `json:"users,omitempty"` // who holds the socket still
}

// Drain says what remains on the TOE.
type Drain struct {
	Draining    bool           `json:"draining"`
	Connections int            `json:"connections"` // without those in TIME-WAIT
	TimeWait    int            `json:"time_wait"`
	Listeners   int            `json:"listeners"` // while draining, they take nothing
	Programs    []DrainProgram `json:"programs"`
}

// DrainProgram is a program with connections.
type DrainProgram struct {
	Program     string `json:"program"` // empty: of programs that have ended
	PID         int    `json:"pid"`
	Connections int    `json:"connections"`
}
