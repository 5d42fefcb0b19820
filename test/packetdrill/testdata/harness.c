/*
 * Loads the plug-in as packetdrill does and lets it serve one connection: SYN, SYN-ACK, ACK, data and a
 * FIN by hand, with accept waiting in a second thread. Prints what it sees, one fact a line.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../interface.h"

static struct packetdrill_interface ifc;
static int listener, conn;

static unsigned sum(const void *p, int n, unsigned s)
{
	const unsigned char *b = p;
	for (int i = 0; i < n; i++)
		s += i & 1 ? b[i] : b[i] << 8;
	return s;
}

static unsigned short fold(unsigned s)
{
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return htons(~s & 0xffff);
}

/* One segment from 192.0.2.1:4000 to 192.168.0.1:8080. */
static void inject(unsigned seq, unsigned ack, int flags, const char *data)
{
	unsigned char p[2000] = {0x45, [8] = 64, [9] = 6, [12] = 192, 0, 2, 1, 192, 168, 0, 1};
	int n = strlen(data);
	struct tcphdr *t = (void *)(p + 20);
	*(unsigned short *)(p + 2) = htons(40 + n);
	*t = (struct tcphdr){.source = htons(4000), .dest = htons(8080), .seq = htonl(seq),
			     .ack_seq = htonl(ack), .doff = 5, .window = htons(60000)};
	t->th_flags = flags;
	memcpy(p + 40, data, n);
	*(unsigned short *)(p + 10) = fold(sum(p, 20, 0));
	t->check = fold(sum(p + 12, 28 + n, 6 + 20 + n));
	ifc.netdev_send(ifc.userdata, p, 40 + n);
}

/* The next segment out. */
static unsigned outbound(void)
{
	unsigned char p[70000];
	size_t n = sizeof(p);
	long long usecs;
	if (ifc.netdev_receive(ifc.userdata, p, &n, &usecs) || n < 40) {
		printf("nothing sent\n");
		exit(1);
	}
	struct tcphdr *t = (void *)(p + 20);
	printf("out flags %#x ack %u length %zu\n", t->th_flags, ntohl(t->ack_seq),
	       n - 20 - 4 * t->doff);
	return ntohl(t->seq);
}

static void *accepting(void *arg)
{
	conn = ifc.accept(ifc.userdata, listener, NULL, NULL);
	struct timeval tv;
	ifc.gettimeofday(ifc.userdata, &tv, NULL);
	return NULL;
}

int main(int argc, char **argv)
{
	void *so = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE | RTLD_DEEPBIND);
	void (*init)(const char *, struct packetdrill_interface *) =
		so ? dlsym(so, "packetdrill_interface_init") : NULL;
	if (!init) {
		printf("%s\n", dlerror());
		return 1;
	}
	init("", &ifc);

	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(8080)};
	listener = ifc.socket(ifc.userdata, AF_INET, SOCK_STREAM, IPPROTO_TCP);
	int r = ifc.bind(ifc.userdata, listener, (void *)&a, sizeof(a));
	printf("bind %d listen %d\n", r, ifc.listen(ifc.userdata, listener, 1));
	r = ifc.read(ifc.userdata, listener, &a, 1);
	printf("read of a listener %d %s\n", r, strerrorname_np(errno));

	pthread_t thread;
	pthread_create(&thread, NULL, accepting, NULL);
	ifc.usleep(ifc.userdata, 1000);
	inject(1000, 0, TH_SYN, "");
	unsigned iss = outbound();
	inject(1001, iss + 1, TH_ACK, "");
	pthread_join(thread, NULL);
	inject(1001, iss + 1, TH_ACK | TH_PUSH, "hello");
	char buf[100];
	printf("read %zd %.5s\n", ifc.read(ifc.userdata, conn, buf, sizeof(buf)), buf);
	outbound();
	printf("write %zd\n", ifc.write(ifc.userdata, conn, "good bye", 8));
	outbound();

	struct tcp_info info = {0};
	socklen_t len = sizeof(info);
	r = getsockopt(conn, IPPROTO_TCP, TCP_INFO, &info, &len);
	printf("getsockopt of libc %d state %d mss %u\n", r, info.tcpi_state, info.tcpi_snd_mss);
	printf("close %d\n", ifc.close(ifc.userdata, conn));
	outbound();
	ifc.free(ifc.userdata);
	return 0;
}
