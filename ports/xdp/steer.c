//go:build ignore

// The XDP program of an interface that the kernel keeps: what is the TOE's goes to its AF_XDP sockets,
// everything else goes on into the kernel as if no program were there. Built by bpf2go, see generate.go.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PORTS 65536
#define ROWS 66 // the two wildcards, and 64 addresses
#define ROW_ANY4 0
#define ROW_ANY6 1
#define EXTENSIONS 8 // IPv6 extension headers before TCP, at most

struct address {
	__u8 octet[16]; // IPv4 as IPv6-mapped
};

// tag is what follows the type of a frame of IEEE 802.1Q.
struct tag {
	__be16 control; // priority, and in the lower twelve bits the VLAN
	__be16 type;
};

// extension is the head of an IPv6 extension header: all that a fragment header has.
struct extension {
	__u8 next;
	__u8 len;    // octets beyond eight, in eights; nothing in a fragment header
	__be16 data; // fragment: offset and flags; routing: type, segments left
	__u32 more;
};

struct claims {
	__u32 flows[PORTS];
};

struct row {
	__u32 listening[PORTS / 32];
};

// verdict says why a frame went where it went; it is counted.
enum verdict {
	PASS_OTHER,  // no TCP of ours: other protocols, addresses, stations; fragments, VLANs
	PASS_PORT,   // TCP to a port that is none of the TOE's
	PASS_SOCKET, // the kernel has the connection
	TO_TOE,
	VERDICTS,
};

// xsks_map has the socket of each queue. The driver, too, knows the map by its name.
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u32);
} xsks_map SEC(".maps");

// claims has, for each queue, how many connections its worker has with each local port, half-open ones
// and those in TIME-WAIT included. The workers write them. The first, of no port, says that the worker's
// table is full. Its size is set when it is loaded.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct claims);
} claims SEC(".maps");

// rows_of has the interface's addresses, each with its row of listening.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ROWS);
	__type(key, struct address);
	__type(value, __u32);
} rows_of SEC(".maps");

// listening has a bit for each port on which the TOE answers SYNs to an address.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, ROWS);
	__type(key, __u32);
	__type(value, struct row);
} listening SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VERDICTS);
	__type(key, __u32);
	__type(value, __u64);
} verdicts SEC(".maps");

// station is the interface's hardware address.
volatile __u8 station[8];

// segment is what the decision needs of a TCP segment.
struct segment {
	struct address dst;
	struct bpf_sock_tuple tuple; // as the kernel looks up sockets: the sender is the source
	__u32 any_row; // wildcard of the address family
	__u16 port;    // local, host order
	__u8 syn;      // SYN without ACK
};

static __always_inline int parse_ports(void *l4, void *end, struct segment *s, __be16 *src, __be16 *dst)
{
	struct tcphdr *tcp = l4;

	if ((void *)(tcp + 1) > end)
		return 0;
	*src = tcp->source;
	*dst = tcp->dest;
	s->port = bpf_ntohs(tcp->dest);
	s->syn = tcp->syn && !tcp->ack;
	return 1;
}

static __always_inline int parse4(void *l3, void *end, struct segment *s)
{
	struct iphdr *ip = l3;

	// A first fragment is judged by its ports: the worker drops one of a connection of ours, which the
	// kernel would put together and then refuse. The others have no ports.
	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5 || ip->protocol != IPPROTO_TCP ||
	    ip->frag_off & bpf_htons(0x1fff))
		return 0;
	__builtin_memset(s->dst.octet, 0, 10);
	s->dst.octet[10] = s->dst.octet[11] = 0xff;
	__builtin_memcpy(&s->dst.octet[12], &ip->daddr, 4);
	s->tuple.ipv4.saddr = ip->saddr;
	s->tuple.ipv4.daddr = ip->daddr;
	s->any_row = ROW_ANY4;
	return parse_ports(l3 + ip->ihl * 4, end, s, &s->tuple.ipv4.sport, &s->tuple.ipv4.dport);
}

// upper6 returns where the TCP header stands behind the extension headers, or null. It passes over those
// that the workers pass over. A later fragment has no ports.
static __always_inline void *upper6(struct ipv6hdr *ip, void *end)
{
	void *at = ip + 1;
	__u8 proto = ip->nexthdr;

	for (int i = 0; i < EXTENSIONS; i++) {
		struct extension *x = at;

		if (proto == IPPROTO_TCP)
			return at;
		if (proto != IPPROTO_HOPOPTS && proto != IPPROTO_DSTOPTS && proto != IPPROTO_ROUTING &&
		    proto != IPPROTO_FRAGMENT)
			return 0;
		if ((void *)(x + 1) > end)
			return 0;
		if (proto == IPPROTO_FRAGMENT) {
			if (x->data & bpf_htons(0xfff8))
				return 0;
			at += sizeof(*x);
		} else {
			if (proto == IPPROTO_ROUTING && x->data & bpf_htons(0x00ff))
				return 0; // segments are left
			at += sizeof(*x) + x->len * 8;
		}
		proto = x->next;
	}
	return proto == IPPROTO_TCP ? at : 0;
}

static __always_inline int parse6(void *l3, void *end, struct segment *s)
{
	struct ipv6hdr *ip = l3;
	void *tcp;

	if ((void *)(ip + 1) > end || ip->version != 6)
		return 0;
	tcp = upper6(ip, end);
	if (!tcp)
		return 0;
	__builtin_memcpy(&s->dst, &ip->daddr, 16);
	__builtin_memcpy(s->tuple.ipv6.saddr, &ip->saddr, 16);
	__builtin_memcpy(s->tuple.ipv6.daddr, &ip->daddr, 16);
	s->any_row = ROW_ANY6;
	return parse_ports(tcp, end, s, &s->tuple.ipv6.sport, &s->tuple.ipv6.dport);
}

// parse reports whether the frame is for this station and holds a TCP segment, or the first fragment of one.
static __always_inline int parse(struct xdp_md *ctx, struct segment *s)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	__be16 type;
	void *l3;

	if ((void *)(eth + 1) > end)
		return 0;
	for (int i = 0; i < ETH_ALEN; i++)
		if (eth->h_dest[i] != station[i])
			return 0;
	type = eth->h_proto;
	l3 = eth + 1;
	if (type == bpf_htons(ETH_P_8021Q)) {
		struct tag *tag = l3;

		// The kernel and the workers take a frame with a priority alone as one without a tag.
		if ((void *)(tag + 1) > end || tag->control & bpf_htons(0x0fff))
			return 0;
		type = tag->type;
		l3 = tag + 1;
	}
	if (type == bpf_htons(ETH_P_IP))
		return parse4(l3, end, s);
	if (type == bpf_htons(ETH_P_IPV6))
		return parse6(l3, end, s);
	return 0;
}

static __always_inline int listens(__u32 row, __u16 port)
{
	struct row *r = bpf_map_lookup_elem(&listening, &row);

	return r && r->listening[port / 32] >> (port % 32) & 1;
}

// kernel_has reports whether the kernel has a socket that is to get the segment: one that is in a
// connection, half-open and TIME-WAIT included.
static __always_inline int kernel_has(struct xdp_md *ctx, struct segment *s)
{
	__u32 size = s->any_row == ROW_ANY4 ? sizeof(s->tuple.ipv4) : sizeof(s->tuple.ipv6);
	struct bpf_sock *sk = bpf_skc_lookup_tcp(ctx, &s->tuple, size, BPF_F_CURRENT_NETNS, 0);
	int has;

	if (!sk)
		return 0;
	has = sk->state != BPF_TCP_LISTEN;
	bpf_sk_release(sk);
	return has;
}

static __always_inline enum verdict judge(struct xdp_md *ctx)
{
	__u32 queue = ctx->rx_queue_index, *row;
	struct segment s = {};
	struct claims *c;
	int ours;

	if (!parse(ctx, &s))
		return PASS_OTHER;
	row = bpf_map_lookup_elem(&rows_of, &s.dst);
	c = bpf_map_lookup_elem(&claims, &queue);
	if (!row || !c)
		return PASS_OTHER;
	ours = listens(*row, s.port) || listens(s.any_row, s.port);
	if (s.syn && c->flows[0])
		ours = 0; // no room: the program's kernel socket listens, too
	if (!ours && !c->flows[s.port])
		return PASS_PORT;
	// The kernel's own connections come first: they may have been there before the TOE's listener,
	// or have got the port of a placeholder. Its listeners do not: a SYN may be one in a connection of
	// the TOE (RFC 5961), which a half-open one of the kernel would take its segments from. If it is
	// none, the worker gives it back.
	if (kernel_has(ctx, &s))
		return PASS_SOCKET;
	return TO_TOE;
}

SEC("xdp")
int steer(struct xdp_md *ctx)
{
	__u32 v = judge(ctx);
	__u64 *n = bpf_map_lookup_elem(&verdicts, &v);

	if (n)
		*n += 1;
	// A queue without a socket passes: toed is about to start, or to end.
	return v == TO_TOE ? bpf_redirect_map(&xsks_map, ctx->rx_queue_index, XDP_PASS) : XDP_PASS;
}
