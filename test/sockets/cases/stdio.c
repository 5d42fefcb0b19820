/* stdio: libc's streams on sockets, as servers under inetd and many small programs use them. */
#include "cases.h"

#include <stdio_ext.h>
#include <wchar.h>

#define SIZE 300000u

CASE(printf_and_fgets)
{
	char line[64];
	FILE *in, *out;
	int p[2];

	make_pair(p);
	out = fdopen(p[0], "w");
	in = fdopen(p[1], "r");
	fprintf(out, "one %d\n", 1);
	fputs("two\n", out);
	tell("flush", fflush(out));
	for (int i = 0; i < 2; i++)
		say("%.5s", fgets(line, sizeof line, in) ? line : "end");
	fputs("three\nand no end", out);
	tell("close", fclose(out));
	while (fgets(line, sizeof line, in))
		say("%.5s", line);
	say("end %d, error %d", feof(in) != 0, ferror(in) != 0);
	tell("close", fclose(in));
}

CASE(number_of_a_stream)
{
	FILE *f;
	int p[2], fd;

	make_pair(p);
	f = fdopen(p[0], "r+");
	say("fileno %d, unlocked %d", fileno(f) == p[0], fileno_unlocked(f) == p[0]);
	tell("close", fclose(f));
	tell("closed", fcntl(p[0], F_GETFD));
	tell("end", read(p[1], &fd, 1));
}

CASE(one_stream_for_both_ways)
{
	char line[32] = "";
	FILE *f, *g;
	int p[2];

	make_pair(p);
	f = fdopen(p[0], "r+");
	g = fdopen(p[1], "r+");
	fprintf(f, "question\n");
	tell("flush", fflush(f));
	say("%d", fgets(line, sizeof line, g) != NULL);
	fprintf(g, "answer to %s", line);
	tell("flush", fflush(g));
	say("%d", fgets(line, sizeof line, f) != NULL);
	say("%.18s", line);
	fclose(f);
	fclose(g);
}

CASE(two_streams_of_one_socket)
{
	char line[32] = "";
	FILE *in, *out, *g;
	int p[2];

	make_pair(p);
	in = fdopen(p[0], "r");
	out = fdopen(MUST(dup(p[0])), "w");
	g = fdopen(p[1], "r+");
	fputs("ask\n", out);
	fflush(out);
	say("%d", fgets(line, sizeof line, g) != NULL);
	fputs("told\n", g);
	fflush(g);
	say("%d", fgets(line, sizeof line, in) != NULL);
	tell("close one", fclose(out));
	fputs("more\n", g);
	fflush(g);
	say("%.4s", fgets(line, sizeof line, in) ? line : "end");
	fclose(in);
	say("end %d", fgetc(g) == EOF);
	fclose(g);
}

static FILE *sink;

static void *swallow(void *arg)
{
	static uint8_t buf[SIZE];
	size_t n = fread(buf, 1, SIZE, sink);

	verify(buf, 0, n);
	say("read %zu", n);
	return arg;
}

CASE(large_reads_and_writes)
{
	static uint8_t buf[SIZE];
	pthread_t t;
	FILE *out;
	int p[2];

	make_pair(p);
	out = fdopen(p[0], "w");
	sink = fdopen(p[1], "r");
	fill_pattern(buf, 0, SIZE);
	pthread_create(&t, NULL, swallow, NULL);
	say("wrote %zu", fwrite(buf, 1, SIZE, out));
	fclose(out);
	pthread_join(t, NULL);
	fclose(sink);
}

CASE(character_by_character)
{
	FILE *in, *out;
	int p[2];

	make_pair(p);
	out = fdopen(p[0], "w");
	in = fdopen(p[1], "r");
	setvbuf(out, NULL, _IONBF, 0);
	for (const char *c = "abc"; *c; c++) {
		fputc(*c, out);
		say("%c", fgetc(in));
	}
	ungetc('z', in);
	say("%c", fgetc(in));
	fclose(out);
	say("end %d", fgetc(in) == EOF);
	fclose(in);
}

CASE(line_buffered)
{
	char buf[8] = "";
	FILE *out;
	int p[2];

	make_pair(p);
	out = fdopen(p[0], "w");
	setlinebuf(out);
	fputs("half", out);
	say("held back %zu", __fpending(out));
	fputs(" line\n", out);
	read_all(p[1], buf, 5);
	say("%.4s", buf);
	fclose(out);
}

CASE(not_waiting)
{
	FILE *in;
	int p[2];

	make_pair(p);
	nonblocking(p[1], true);
	in = fdopen(p[1], "r");
	errno = 0;
	say("%d %s, error %d, end %d", fgetc(in), strerrorname_np(errno), ferror(in) != 0,
	    feof(in) != 0);
	clearerr(in);
	write_all(p[0], "x", 1);
	await(p[1], POLLIN);
	say("%c", fgetc(in));
	fclose(in);
}

CASE(writing_to_who_has_gone)
{
	FILE *out;
	int p[2];

	signal(SIGPIPE, SIG_IGN);
	make_pair(p);
	MUST(shutdown(p[0], SHUT_WR));
	out = fdopen(p[0], "w");
	fputs("lost", out);
	tell("flush", fflush(out));
	say("error %d", ferror(out) != 0);
	tell("close", fclose(out));
}

CASE(no_seeking)
{
	FILE *f;
	int p[2];

	make_pair(p);
	f = fdopen(p[0], "r+");
	tell("fseek", fseek(f, 0, SEEK_SET));
	tell("ftell", ftell(f));
	rewind(f);
	fclose(f);
}

CASE(bad_descriptors_and_modes)
{
	int p[2], fd;

	make_pair(p);
	tell("mode", fdopen(p[0], "q") ? 0 : -1);
	tell("descriptor", fdopen(-1, "r") ? 0 : -1);
	fd = MUST(dup(p[0]));
	MUST(close(fd));
	tell("closed", fdopen(fd, "r") ? 0 : -1);
}

CASE(scanning)
{
	FILE *in;
	char word[16];
	int p[2], n = 0;

	make_pair(p);
	in = fdopen(p[1], "r");
	write_all(p[0], "17 seventeen\n", 13);
	tell("fscanf", fscanf(in, "%d %15s", &n, word));
	say("%d %s", n, word);
	fclose(in);
}

CASE(lines_of_any_length)
{
	static char long_line[20000];
	char *line = NULL;
	size_t room = 0;
	FILE *in;
	int p[2];

	make_pair(p);
	in = fdopen(p[1], "r");
	memset(long_line, 'x', sizeof long_line);
	long_line[sizeof long_line - 1] = '\n';
	write_all(p[0], long_line, sizeof long_line);
	MUST(shutdown(p[0], SHUT_WR));
	tell("getline", getline(&line, &room, in));
	tell("end", getline(&line, &room, in) < 0 ? 0 : 1);
	free(line);
	fclose(in);
}

CASE(wide_characters)
{
	FILE *in, *out;
	int p[2];

	make_pair(p);
	out = fdopen(p[0], "w");
	in = fdopen(p[1], "r");
	fputws(L"wide\n", out);
	fclose(out);
	say("%d", fgetwc(in) == L'w');
	fclose(in);
}

CASE(print_to_a_descriptor)
{
	static char text[5000];
	char buf[5002];
	int p[2];

	make_pair(p);
	tell("dprintf", dprintf(p[0], "%s %d\n", "number", 5));
	read_all(p[1], buf, 9);
	say("%.8s", buf);
	memset(text, 'y', sizeof text - 1);
	tell("long", dprintf(p[0], "%s!", text));
	read_all(p[1], buf, sizeof text);
	say("%c%c", buf[0], buf[sizeof text - 1]);
	signal(SIGPIPE, SIG_IGN);
	MUST(shutdown(p[0], SHUT_WR));
	tell("closed", dprintf(p[0], "x"));
}

int __dprintf_chk(int, int, const char *, ...);

CASE(print_fortified)
{
	char buf[16];
	int p[2];

	make_pair(p);
	tell("__dprintf_chk", __dprintf_chk(p[0], 1, "%s\n", "abc"));
	read_all(p[1], buf, 4);
	say("%.3s", buf);
}

/* served runs a child whose standard streams are the socket. */
static pid_t served(int fd, void (*serve)(void))
{
	pid_t pid = MUST(fork());

	if (pid == 0) {
		MUST(dup2(fd, 0));
		MUST(dup2(fd, 1));
		MUST(close(fd));
		serve();
		exit(0);
	}
	return pid;
}

static void greet(void)
{
	char name[32] = "";

	if (scanf("%31s", name) == 1)
		printf("hello, %s\n", name);
}

CASE(standard_streams_of_a_child)
{
	char buf[64] = "";
	int p[2];
	pid_t pid;

	make_pair(p);
	pid = served(p[1], greet);
	MUST(close(p[1]));
	write_all(p[0], "world\n", 6);
	read_all(p[0], buf, 13);
	say("%.12s", buf);
	tell("end", read(p[0], buf, 1));
	reap(pid);
}

static void put_back(void)
{
	int keep = MUST(dup(2));

	puts("to the socket");
	fflush(stdout);
	MUST(dup2(keep, 1));
	puts("not to the socket any more");
	fflush(stdout);
	close(0);
	close(1);
}

CASE(standard_output_put_back)
{
	char buf[64] = "";
	int p[2], null = MUST(open("/dev/null", O_WRONLY)), err = MUST(dup(2));
	pid_t pid;

	make_pair(p);
	MUST(dup2(null, 2));
	pid = served(p[1], put_back);
	MUST(dup2(err, 2));
	MUST(close(p[1]));
	read_all(p[0], buf, 14);
	say("%.13s", buf);
	tell("end", read(p[0], buf, 1));
	reap(pid);
}

/* What a stream holds is written when the program ends, after all that it has set up for its end. */
CASE(written_at_the_end)
{
	char buf[16] = "";
	int l = listener(0), a;
	pid_t pid;

	fflush(NULL);
	pid = MUST(fork());
	if (pid == 0) {
		fputs("of its own", fdopen(connect_to(l), "w"));
		exit(0);
	}
	a = MUST(accept(l, NULL, NULL));
	read_all(a, buf, 10);
	say("%s", buf);
	tell("end", read(a, buf, 1));
	reap(pid);
}

static void last_words(void)
{
	fputs("last words", stdout);
}

static void say_atexit(void)
{
	atexit(last_words);
}

/* The socket stays open: nothing but the write tells that there is something. */
CASE(written_at_the_end_of_a_child)
{
	char buf[16] = "";
	int p[2];
	pid_t pid;

	make_pair(p);
	fflush(NULL);
	pid = served(p[1], say_atexit);
	read_all(p[0], buf, 10);
	say("%s", buf);
	reap(pid);
}

CASE(standard_streams_of_another_program)
{
	char buf[128] = "";
	int p[2];
	pid_t pid;

	make_pair(p);
	fflush(NULL);
	pid = MUST(fork());
	if (pid == 0) {
		MUST(dup2(p[1], 0));
		MUST(dup2(p[1], 1));
		MUST(close(p[0]));
		MUST(close(p[1]));
		setenv("ASAN_OPTIONS", "detect_leaks=0", 1); /* it has some of its own */
		execlp("tr", "tr", "a-z", "A-Z", NULL);	     /* fread and fwrite */
		_exit(1);
	}
	MUST(close(p[1]));
	write_all(p[0], "shout\n", 6);
	MUST(shutdown(p[0], SHUT_WR));
	read_all(p[0], buf, 6);
	say("%.5s", buf);
	tell("end", read(p[0], buf, 1));
	reap(pid);
}
