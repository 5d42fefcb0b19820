package sockets

// supervisedDifference is what cases print under a supervisor otherwise than on the kernel.
type supervisedDifference struct {
	how    kind
	reason string
	lines  []change // all that is different; none: the whole output may be
	cases  []string // topic/case
}

// kind says how a case is different.
type kind uint8

const (
	prints kind = iota // it prints something else
	waits              // it waits for what does not come, or for the network's answer to the kernel
	either             // it prints now this and now that: it is not run
)

const (
	urgent   = "Urgent octets are ordinary ones; nobody is told of them."
	fastOpen = "There is no Fast Open: what MSG_FASTOPEN or TCP_FASTOPEN_CONNECT opens is the kernel's."
	watched  = "A socket that a set watches before it connects or listens is the kernel's, as the set would lose it."
	over     = "What is over is a unix socket that is over: read gives ECONNRESET whatever the reason, write EPIPE; a reset " +
		"after the end of the peer's stream is no error. It cannot be bound again. One that the program has shut down both ways is over."
	addresses = "An address given to sendto or sendmsg is EISCONN."
	shutRead  = "After shutdown of reading nothing more can be read, and octets of the peer's reset the connection."
	inq       = "TCP_INQ is refused, and a socket that has it before it is opened is the kernel's."
	listener  = "read of a listener waits, or says EAGAIN, and FIONREAD of one 0."
	dataCalls = "Data calls are a unix socket's: MSG_TRUNC and MSG_ERRQUEUE do nothing, credentials in a message are EINVAL, mmap is " +
		"ENODEV, poll does not know SO_RCVLOWAT."
)

// supervisedDifferences are all that are known. docs/SOCKETS.md lists them. A case that differs no more fails until it
// is taken out.
var supervisedDifferences = []supervisedDifference{
	{waits, urgent, nil, []string{
		"urgent/signalled", "urgent/in_line", "urgent/out_of_line", "urgent/passed_over", "urgent/twice", "urgent/selected",
		"sleeping/select_three_sets", "sending/urgent_octet", "sending/urgent_octets_of_several", "ready/urgent",
		"ioctls/octets_to_read_before_the_urgent_one", "edges/urgent",
	}},
	{waits, fastOpen, nil, []string{
		"tuning/fast_open", "fastopen/message_nonblocking", "fastopen/deferred_blocking", "fastopen/deferred_nonblocking",
		"fastopen/message_late", "fastopen/message_blocking", "fastopen/epolled", "fastopen/given_up", "fastopen/refused",
		"fastopen/settings",
	}},
	{waits, watched, nil, []string{"epoll/decided_later", "sets/member_becomes_a_connection", "edges/connecting"}},
	{prints, watched, nil, []string{"sets/member_becomes_a_listener", "ready/unconnected"}},
	{either, watched, nil, []string{"sets/refused_member"}},
	{waits, "A socket that is bound to an address without a port (IP_BIND_ADDRESS_NO_PORT) is the kernel's.", nil, []string{
		"binding/no_port",
	}},
	{waits, addresses, nil, []string{"sending/sendto_with_an_address", "sending/sendmsg_with_a_name"}},
	{waits, shutRead, nil, []string{"receiving/data_after_shutdown_of_reading", "closing/octets_after_shut_read"}},
	{prints, shutRead, []change{{"end: 0", "end: ECONNRESET"}}, []string{"closing/shut_read_then_close"}},
	{waits, listener, nil, []string{"receiving/reading_a_listener"}},
	{prints, listener, []change{{"listener FIONREAD: EINVAL", "listener FIONREAD: 0"}}, []string{
		"ioctls/queues_of_what_is_no_connection",
	}},
	{prints, listener, nil, []string{
		"states/listening", "states/listening_after_io", "states/listening_after_shutdown", "states/listening_with_one",
		"states/listening_with_one_after_io", "states/listening_with_one_after_shutdown",
	}},
	{waits, dataCalls, nil, []string{"receiving/error_queue_is_empty"}},
	{prints, dataCalls, nil, []string{"receiving/truncating_peek", "receiving/truncating_read", "ready/low_water_mark"}},
	{prints, dataCalls, []change{{"credentials: 3", "credentials: EINVAL"}}, []string{"sending/sendmsg_with_control_data"}},
	{prints, dataCalls, []change{{"mmap: EPERM", "mmap: ENODEV"}}, []string{"ioctls/status_of_a_socket"}},
	{prints, dataCalls, []change{{"poll: OUT", "poll: IN OUT"}}, []string{"options/low_water_mark_of_readiness"}},
	{prints, dataCalls, []change{{"below: 0", "below: 1"}}, []string{"options/low_water_mark_wakes_epoll"}},
	{prints, dataCalls, []change{{"below: OUT", "below: IN OUT"}}, []string{"receiving/read_low_water_mark"}},
	{waits, over, nil, []string{
		"states/peer_closed_and_reset", "states/peer_closed_and_reset_after_io", "states/peer_closed_and_reset_after_shutdown",
		"states/reset_after_shut", "states/reset_after_shut_after_io", "states/reset_after_shut_after_shutdown",
		"closing/write_to_the_gone", "closing/linger_zero_after_shutdown",
	}},
	{prints, over, nil, []string{
		"states/ended", "states/ended_last", "states/peer_closed", "states/peer_shut", "states/peer_shut_with_octets",
		"states/refused", "states/reset", "states/reset_with_octets", "states/shut_both", "states/shut_read",
		"states/shut_read_with_octets", "states/with_octets",
		"states/asked_after_shutdown", "states/ended_after_io", "states/ended_after_shutdown", "states/ended_last_after_io",
		"states/ended_last_after_shutdown", "states/established_after_shutdown", "states/peer_closed_after_io",
		"states/peer_closed_after_shutdown", "states/peer_shut_after_io", "states/peer_shut_after_shutdown",
		"states/peer_shut_with_octets_after_io", "states/peer_shut_with_octets_after_shutdown", "states/refused_after_io",
		"states/refused_after_shutdown", "states/reset_after_io", "states/reset_after_shutdown",
		"states/reset_with_octets_after_io", "states/reset_with_octets_after_shutdown", "states/shut_both_after_io",
		"states/shut_both_after_shutdown", "states/shut_read_after_io", "states/shut_read_after_shutdown",
		"states/shut_read_with_octets_after_io", "states/shut_read_with_octets_after_shutdown",
		"states/shut_write_after_shutdown", "states/with_octets_after_io", "states/with_octets_after_shutdown",
		"ready/peer_closed", "receiving/write_takes_the_error", "closing/error_by_write", "sending/sigpipe_after_reset",
	}},
	{prints, over, []change{{"poll: IN OUT RDHUP HUP ERR", "poll: IN OUT RDHUP HUP"}}, []string{
		"sending/reading_after_writing_to_who_has_closed",
	}},
	{prints, over, []change{{"poll: OUT HUP", "poll: IN OUT RDHUP HUP"}, {"read: ENOTCONN", "read: 0"}}, []string{
		"connecting/refused", "connecting/refused_without_waiting_then_connected",
	}},
	{prints, over, []change{{"read: ECONNREFUSED", "read: ECONNRESET"}}, []string{"connecting/refused_told_by_read"}},
	{prints, over, []change{{"write: ECONNREFUSED", "write: EPIPE"}}, []string{"connecting/refused_told_by_write"}},
	{either, "How much can be written to a peer that does not read is what the pair and the TOE hold, and moves from one to the other.",
		nil, []string{
			"sending/full_buffer", "sending/send_timeout", "sleeping/send_timeout", "ioctls/a_full_stream_counts_what_it_took",
			"ready/full", "ready/full_and_closed_by_the_peer", "edges/space_after_full", "interrupts/read_and_write",
			"others/shutdown_under_write", "closing/linger_zero_discards",
		}},
	{prints, "A connection that connect to AF_UNSPEC ends leaves no ECONNRESET behind for the next call.", nil, []string{
		"connecting/dissolve_leaves_an_error",
	}},
	{prints, inq, nil, []string{
		"options/inherited_when_set_after_listen", "options/inherited_when_set_before_listen", "options/tcp_options_of_a_connection",
		"receiving/bytes_to_come_by_message",
	}},
	{waits, "SO_ZEROCOPY is refused, and a socket that has it before it is opened is the kernel's.", nil, []string{
		"zerocopy/shared_by_processes", "zerocopy/in_select", "zerocopy/wakes_edge", "zerocopy/wakes_level",
		"zerocopy/short_control", "zerocopy/option", "zerocopy/without_the_option", "zerocopy/large", "zerocopy/numbers",
		"zerocopy/completions",
	}},
	{waits, inq, nil, []string{"options/set_before_connect_stays"}},
	{prints, "There is an edge for space whenever the supervisor has taken octets, also when nobody lacked any.",
		[]change{{"no edge: 0", "no edge: 1: OUT"}}, []string{"edges/no_edge_for_space_that_nobody_lacked"}},
	{prints, "A copy (dup, fork) of a socket that was made before connect stays the kernel's unconnected socket.",
		[]change{{"we still have it: nothing", "we still have it: IN RDHUP"}}, []string{"handing/undecided_to_a_child"}},
	{prints, "close of a listener wakes who waits in accept, by EINVAL.", nil, []string{"others/close_under_accept"}},
	{prints, "accept of an empty queue by a process that has no descriptor left says EAGAIN, or waits.",
		[]change{{"accept: EMFILE", "accept: EAGAIN"}}, []string{"numbers/no_number_left_and_nobody_to_accept"}},
}
