/* empty: sends a packet of no octets with many descriptors of its standard input beside it to the
 * socket that argv[1] names, and waits until it is hung up on. Go's own sendmsg adds an octet. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define DESCRIPTORS 100

int main(int argc, char **argv)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(DESCRIPTORS * sizeof(int))] = {0};
	struct msghdr h = {.msg_control = control, .msg_controllen = sizeof control};
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);
	int s = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	char octet;

	if (argc != 2)
		return 1;
	snprintf(to.sun_path, sizeof to.sun_path, "%s", argv[1]);
	if (connect(s, (struct sockaddr *)&to, sizeof to) < 0)
		return 2;
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(DESCRIPTORS * sizeof(int)); /* all zero: standard input */
	if (sendmsg(s, &h, 0) < 0)
		return 3;
	return recv(s, &octet, 1, 0) == 0 ? 0 : 4;
}
