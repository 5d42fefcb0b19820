/* uring: asks for a ring by libc and by a system call of its own, as liburing does. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static long own_call(long number, long a, long b)
{
	long rc;

#if defined(__x86_64__)
	__asm__ volatile("syscall"
			 : "=a"(rc)
			 : "a"(number), "D"(a), "S"(b)
			 : "rcx", "r11", "memory");
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1) : "memory");
	rc = x0;
#endif
	return rc;
}

int main(void)
{
	long rc = syscall(SYS_io_uring_setup, 0, NULL);

	printf("syscall: %s\n", rc < 0 && errno == ENOSYS ? "refused" : "not refused");
	rc = own_call(SYS_io_uring_setup, 0, 0);
	printf("own call: %s\n", rc == -ENOSYS ? "refused" : "not refused");
	printf("others: %d\n", own_call(SYS_getpid, 0, 0) == getpid());
	return 0;
}
