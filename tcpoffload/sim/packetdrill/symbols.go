package packetdrill

// Names of Linux's interface.

import (
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"opentoe/tcpoffload/sim/socket"
)

// symbols are the names that arguments of system calls may hold.
var symbols = map[string]int64{
	"AF_INET": unix.AF_INET, "AF_INET6": unix.AF_INET6, "AF_UNSPEC": unix.AF_UNSPEC,
	"PF_INET": unix.AF_INET, "PF_INET6": unix.AF_INET6,
	"SOCK_STREAM": unix.SOCK_STREAM, "SOCK_DGRAM": unix.SOCK_DGRAM, "SOCK_NONBLOCK": unix.SOCK_NONBLOCK,
	"SOCK_CLOEXEC": unix.SOCK_CLOEXEC,
	"IPPROTO_TCP":  unix.IPPROTO_TCP, "IPPROTO_IP": unix.IPPROTO_IP, "IPPROTO_IPV6": unix.IPPROTO_IPV6,
	"SOL_SOCKET": unix.SOL_SOCKET, "SOL_TCP": unix.IPPROTO_TCP, "SOL_IP": unix.IPPROTO_IP,
	"SOL_IPV6": unix.IPPROTO_IPV6,

	"SO_REUSEADDR": unix.SO_REUSEADDR, "SO_REUSEPORT": unix.SO_REUSEPORT, "SO_TYPE": unix.SO_TYPE,
	"SO_ERROR": unix.SO_ERROR, "SO_SNDBUF": unix.SO_SNDBUF, "SO_RCVBUF": unix.SO_RCVBUF,
	"SO_KEEPALIVE": unix.SO_KEEPALIVE, "SO_OOBINLINE": unix.SO_OOBINLINE, "SO_LINGER": unix.SO_LINGER,
	"SO_RCVLOWAT": unix.SO_RCVLOWAT, "SO_RCVTIMEO": unix.SO_RCVTIMEO, "SO_SNDTIMEO": unix.SO_SNDTIMEO,
	"SO_ACCEPTCONN": unix.SO_ACCEPTCONN, "SO_PRIORITY": unix.SO_PRIORITY, "SO_MARK": unix.SO_MARK,
	"SO_MAX_PACING_RATE": unix.SO_MAX_PACING_RATE, "SO_ZEROCOPY": unix.SO_ZEROCOPY,
	"SO_DOMAIN": unix.SO_DOMAIN, "SO_PROTOCOL": unix.SO_PROTOCOL,

	"TCP_NODELAY": unix.TCP_NODELAY, "TCP_MAXSEG": unix.TCP_MAXSEG, "TCP_CORK": unix.TCP_CORK,
	"TCP_KEEPIDLE": unix.TCP_KEEPIDLE, "TCP_KEEPINTVL": unix.TCP_KEEPINTVL, "TCP_KEEPCNT": unix.TCP_KEEPCNT,
	"TCP_SYNCNT": unix.TCP_SYNCNT, "TCP_LINGER2": unix.TCP_LINGER2,
	"TCP_DEFER_ACCEPT": unix.TCP_DEFER_ACCEPT, "TCP_WINDOW_CLAMP": unix.TCP_WINDOW_CLAMP,
	"TCP_INFO": unix.TCP_INFO, "TCP_QUICKACK": unix.TCP_QUICKACK, "TCP_CONGESTION": unix.TCP_CONGESTION,
	"TCP_USER_TIMEOUT": unix.TCP_USER_TIMEOUT, "TCP_FASTOPEN": unix.TCP_FASTOPEN,
	"TCP_FASTOPEN_CONNECT": unix.TCP_FASTOPEN_CONNECT, "TCP_NOTSENT_LOWAT": unix.TCP_NOTSENT_LOWAT,
	"TCP_INQ": unix.TCP_INQ,

	"IP_TOS": unix.IP_TOS, "IP_TTL": unix.IP_TTL, "IP_MTU": unix.IP_MTU, "IP_MTU_DISCOVER": unix.IP_MTU_DISCOVER,
	"IP_RECVERR": unix.IP_RECVERR, "IP_PMTUDISC_DONT": unix.IP_PMTUDISC_DONT,
	"IP_PMTUDISC_WANT": unix.IP_PMTUDISC_WANT, "IP_PMTUDISC_DO": unix.IP_PMTUDISC_DO,
	"IPV6_V6ONLY": unix.IPV6_V6ONLY, "IPV6_TCLASS": unix.IPV6_TCLASS,

	"MSG_OOB": unix.MSG_OOB, "MSG_PEEK": unix.MSG_PEEK, "MSG_TRUNC": unix.MSG_TRUNC,
	"MSG_DONTWAIT": unix.MSG_DONTWAIT, "MSG_WAITALL": unix.MSG_WAITALL, "MSG_MORE": unix.MSG_MORE,
	"MSG_NOSIGNAL": unix.MSG_NOSIGNAL, "MSG_ERRQUEUE": unix.MSG_ERRQUEUE, "MSG_EOR": unix.MSG_EOR,
	"MSG_FASTOPEN": unix.MSG_FASTOPEN, "MSG_ZEROCOPY": unix.MSG_ZEROCOPY,

	"SHUT_RD": unix.SHUT_RD, "SHUT_WR": unix.SHUT_WR, "SHUT_RDWR": unix.SHUT_RDWR,
	"F_GETFL": unix.F_GETFL, "F_SETFL": unix.F_SETFL, "O_RDWR": unix.O_RDWR, "O_NONBLOCK": unix.O_NONBLOCK,
	"O_RDONLY": unix.O_RDONLY,
	"FIONREAD": unix.SIOCINQ, "SIOCINQ": unix.SIOCINQ, "SIOCOUTQ": unix.SIOCOUTQ, "SIOCOUTQNSD": 0x894b,
	"SIOCATMARK": 0x8905, "FIONBIO": 0x5421,

	"POLLIN": unix.POLLIN, "POLLPRI": unix.POLLPRI, "POLLOUT": unix.POLLOUT, "POLLERR": unix.POLLERR,
	"POLLHUP": unix.POLLHUP, "POLLNVAL": unix.POLLNVAL, "POLLRDHUP": unix.POLLRDHUP,
	"POLLRDNORM": unix.EPOLLRDNORM, "POLLWRNORM": unix.EPOLLWRNORM,
	"EPOLLIN": unix.EPOLLIN, "EPOLLPRI": unix.EPOLLPRI, "EPOLLOUT": unix.EPOLLOUT, "EPOLLERR": unix.EPOLLERR,
	"EPOLLHUP": unix.EPOLLHUP, "EPOLLRDHUP": unix.EPOLLRDHUP, "EPOLLET": unix.EPOLLET,
	"EPOLLONESHOT": unix.EPOLLONESHOT, "EPOLLRDNORM": unix.EPOLLRDNORM, "EPOLLWRNORM": unix.EPOLLWRNORM,
	"EPOLL_CTL_ADD": unix.EPOLL_CTL_ADD, "EPOLL_CTL_MOD": unix.EPOLL_CTL_MOD, "EPOLL_CTL_DEL": unix.EPOLL_CTL_DEL,

	"SO_EE_ORIGIN_ZEROCOPY": 5,
}

// infoSymbols are the constants that assertions may hold.
var infoSymbols = map[string]int64{
	"TCP_ESTABLISHED": 1, "TCP_SYN_SENT": 2, "TCP_SYN_RECV": 3, "TCP_FIN_WAIT1": 4, "TCP_FIN_WAIT2": 5,
	"TCP_TIME_WAIT": 6, "TCP_CLOSE": 7, "TCP_CLOSE_WAIT": 8, "TCP_LAST_ACK": 9, "TCP_LISTEN": 10, "TCP_CLOSING": 11,
	"TCP_CA_Open": 0, "TCP_CA_Disorder": 1, "TCP_CA_CWR": 2, "TCP_CA_Recovery": 3, "TCP_CA_Loss": 4,
	"TCPI_OPT_TIMESTAMPS": 1, "TCPI_OPT_SACK": 2, "TCPI_OPT_WSCALE": 4, "TCPI_OPT_ECN": 8, "TCPI_OPT_ECN_SEEN": 16,
	"TCPI_OPT_SYN_DATA":     32,
	"TCP_INFINITE_SSTHRESH": 0x7fffffff,
}

// knownInfo reports whether TCP_INFO has a member of the name.
func knownInfo(name string) bool {
	_, ok := new(socket.TCPInfo).Field(name)
	return ok
}

// errnos are the error names that results may have.
var errnos = map[string]unix.Errno{
	"EAGAIN": unix.EAGAIN, "EWOULDBLOCK": unix.EAGAIN, "EINPROGRESS": unix.EINPROGRESS, "EALREADY": unix.EALREADY,
	"EISCONN": unix.EISCONN, "ENOTCONN": unix.ENOTCONN, "ECONNRESET": unix.ECONNRESET,
	"ECONNREFUSED": unix.ECONNREFUSED, "ECONNABORTED": unix.ECONNABORTED, "ETIMEDOUT": unix.ETIMEDOUT,
	"EPIPE": unix.EPIPE, "EINVAL": unix.EINVAL, "EBADF": unix.EBADF, "ENOTSOCK": unix.ENOTSOCK,
	"EADDRINUSE": unix.EADDRINUSE, "EADDRNOTAVAIL": unix.EADDRNOTAVAIL, "EHOSTUNREACH": unix.EHOSTUNREACH,
	"ENETUNREACH": unix.ENETUNREACH, "EMSGSIZE": unix.EMSGSIZE, "ENOPROTOOPT": unix.ENOPROTOOPT,
	"EOPNOTSUPP": unix.EOPNOTSUPP, "ENOENT": unix.ENOENT, "EEXIST": unix.EEXIST, "EDOM": unix.EDOM,
	"EAFNOSUPPORT": unix.EAFNOSUPPORT, "EPROTONOSUPPORT": unix.EPROTONOSUPPORT,
	"ESOCKTNOSUPPORT": unix.ESOCKTNOSUPPORT, "ENOBUFS": unix.ENOBUFS, "EPROTO": unix.EPROTO, "EPERM": unix.EPERM,
	"ENOTTY": unix.ENOTTY,
}

// errnoName returns the name of e.
func errnoName(e unix.Errno) string {
	if e == 0 {
		return "no error"
	}
	if n := unix.ErrnoName(e); n != "" {
		return n
	}
	return e.Error()
}

// icmpTypes are the errors of scripts, in IPv4's notation, with type and code in ICMP and ICMPv6.
var icmpTypes = map[string]struct{ type4, code4, type6, code6 uint8 }{
	"unreachable net":          {3, 0, 1, 0},
	"unreachable host":         {3, 1, 1, 3},
	"unreachable protocol":     {3, 2, 1, 4},
	"unreachable port":         {3, 3, 1, 4},
	"unreachable frag_needed":  {3, 4, 2, 0},
	"unreachable pkt_filtered": {3, 13, 1, 1},
	"time_exceeded":            {11, 0, 3, 0},
	"packet_too_big":           {3, 4, 2, 0},
}

func sortedNames[T any](m map[string]T) string {
	return strings.Join(slices.Sorted(maps.Keys(m)), ", ")
}

func icmpNames() string { return sortedNames(icmpTypes) }
func callNames() string { return sortedNames(calls) }
