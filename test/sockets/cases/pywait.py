"""pywait: Python's ways to wait, and its ways to make and use processes, over sockets."""

import cases
from cases import connect_to, listener, make_pair, only, read_all, say, tell

import os
import select
import selectors
import signal
import socket
import threading


def names(events):
    flags = [("r", selectors.EVENT_READ), ("w", selectors.EVENT_WRITE)]
    return "".join(n for n, f in flags if events & f) or "-"


def selector_case(kind):
    """What every selector has to do, with two sockets and a pipe."""
    a, b = make_pair()
    r, w = os.pipe()
    with kind() as s:
        s.register(b, selectors.EVENT_READ, "socket")
        s.register(r, selectors.EVENT_READ, "pipe")
        say("nothing", s.select(0))
        a.send(b"x")
        say(sorted(k.data + names(e) for k, e in s.select()))
        os.write(w, b"x")
        ready = set()
        while len(ready) < 2:
            ready |= {k.data for k, _ in s.select()}
        say(sorted(ready))
        s.modify(b, selectors.EVENT_READ | selectors.EVENT_WRITE, "both")
        os.read(r, 1)
        say(sorted(k.data + names(e) for k, e in s.select()))
        s.unregister(b)
        say("nothing", s.select(0.01))
        try:
            s.register(r, selectors.EVENT_READ)
        except KeyError:
            say("known already")
        a.close()
        s.register(b, selectors.EVENT_READ, "end")
        say(sorted(k.data + names(e) for k, e in s.select()))
        say(b.recv(2), b.recv(2))


@only("4")
def case_epoll_selector():
    selector_case(selectors.EpollSelector)


@only("4")
def case_poll_selector():
    selector_case(selectors.PollSelector)


@only("4")
def case_select_selector():
    selector_case(selectors.SelectSelector)


@only("4")
def case_devpoll_is_not_there():
    say(hasattr(select, "devpoll"), hasattr(select, "kqueue"), selectors.DefaultSelector.__name__)


@only("4")
def case_epoll_object():
    a, b = make_pair()
    e = select.epoll()
    e.register(b, select.EPOLLIN | select.EPOLLET)
    say(e.poll(0))
    a.send(b"xy")
    say([(fd == b.fileno(), ev) for fd, ev in e.poll()], e.poll(0))
    e.modify(b, select.EPOLLIN | select.EPOLLONESHOT)
    say(len(e.poll()), len(e.poll(0)))
    e.unregister(b)
    tell("twice", e.unregister, b)
    copy = select.epoll.fromfd(os.dup(e.fileno()))
    copy.register(b, select.EPOLLIN)
    say(len(e.poll()), len(copy.poll()))
    e.close()
    say(e.closed, len(copy.poll()))


@only("4")
def case_poll_object():
    a, b = make_pair()
    p = select.poll()
    p.register(b, select.POLLIN | select.POLLRDHUP)
    say(p.poll(0))
    a.send(b"x")
    say([ev for _, ev in p.poll()])
    a.close()
    b.recv(1)
    say([ev & select.POLLIN for _, ev in p.poll()])
    number = b.fileno()
    b.close()
    say([ev == select.POLLNVAL and fd == number for fd, ev in p.poll()])


@only("4")
def case_select_function():
    a, b = make_pair()
    say([len(x) for x in select.select([a, b], [a, b], [a, b], 0)])
    a.send(b"x")
    say([x is b for x in select.select([a, b], [], [])[0]])
    b.close()
    try:
        select.select([b], [], [], 0)
    except ValueError as e:
        say(e)


@only("4")
def case_wakeup_fd():
    a, b = make_pair()
    r, w = socket.socketpair()
    w.setblocking(False)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    old = signal.set_wakeup_fd(w.fileno())
    with selectors.DefaultSelector() as s:
        s.register(b, selectors.EVENT_READ, "socket")
        s.register(r, selectors.EVENT_READ, "signal")
        os.kill(os.getpid(), signal.SIGUSR1)
        say([k.data for k, _ in s.select()], r.recv(1)[0] == signal.SIGUSR1)
        a.send(b"x")
        say([k.data for k, _ in s.select()])
    signal.set_wakeup_fd(old)


@only("4")
def case_wakeup_fd_of_the_toe():
    a, b = make_pair()
    a.setblocking(False)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    tell("set_wakeup_fd", signal.set_wakeup_fd, a.fileno())
    # The interpreter's handler writes the socket.
    os.kill(os.getpid(), signal.SIGUSR1)
    say(b.recv(1)[0] == signal.SIGUSR1)
    signal.set_wakeup_fd(-1)


# ---- asyncio


def run(main):
    import asyncio

    return asyncio.run(main())


@only("4")
def case_asyncio_streams():
    import asyncio

    async def serve(reader, writer):
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, cases.ADDRESS, 0, family=cases.FAMILY)
        host, port = server.sockets[0].getsockname()[:2]

        async def client(i):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"hello %d\n" % i)
            answer = await reader.readline()
            writer.write_eof()
            rest = await reader.read()
            writer.close()
            await writer.wait_closed()
            return answer, rest

        say(await asyncio.gather(*(client(i) for i in range(10))))
        server.close()
        await server.wait_closed()

    run(main)


@only("4")
def case_asyncio_large():
    import asyncio

    async def serve(reader, writer):
        total = 0
        while piece := await reader.read(65536):
            total += len(piece)
        writer.write(b"%d" % total)
        await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, cases.ADDRESS, 0, family=cases.FAMILY)
        host, port = server.sockets[0].getsockname()[:2]
        reader, writer = await asyncio.open_connection(host, port)
        for _ in range(50):
            writer.write(b"x" * 40000)
            await writer.drain()
        writer.write_eof()
        say(await reader.read())
        writer.close()
        server.close()

    run(main)


@only("4")
def case_asyncio_socket_calls():
    import asyncio

    async def main():
        loop = asyncio.get_running_loop()
        l, c = listener(), socket.socket(cases.FAMILY)
        l.setblocking(False)
        c.setblocking(False)
        accepted = asyncio.create_task(loop.sock_accept(l))
        await loop.sock_connect(c, l.getsockname())
        a, _ = await accepted
        a.setblocking(False)
        await loop.sock_sendall(c, b"octets")
        say(await loop.sock_recv(a, 100))
        buf = bytearray(10)
        await loop.sock_sendall(a, b"back")
        say(await loop.sock_recv_into(c, buf), bytes(buf[:4]))
        waits = asyncio.create_task(loop.sock_recv(c, 10))
        await asyncio.sleep(0)
        waits.cancel()
        try:
            await waits
        except asyncio.CancelledError:
            say("cancelled")
        await loop.sock_sendall(a, b"later")
        say(await loop.sock_recv(c, 10))

    run(main)


@only("4")
def case_asyncio_refused():
    import asyncio

    async def main():
        l = listener()
        host, port = l.getsockname()[:2]
        l.close()
        try:
            await asyncio.open_connection(host, port)
        except OSError as e:
            say(type(e).__name__)

    run(main)


@only("4")
def case_asyncio_timeout():
    import asyncio

    async def main():
        l = listener()
        reader, writer = await asyncio.open_connection(*l.getsockname()[:2])
        try:
            await asyncio.wait_for(reader.read(1), 0.02)
        except asyncio.TimeoutError:
            say("timeout")
        a, _ = l.accept()
        a.send(b"x")
        say(await asyncio.wait_for(reader.read(1), 20))
        writer.close()

    run(main)


@only("4")
def case_asyncio_reset():
    import asyncio

    async def main():
        l = listener()
        reader, writer = await asyncio.open_connection(*l.getsockname()[:2])
        a, _ = l.accept()
        a.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        a.close()
        try:
            say(await reader.read(1))
        except OSError as e:
            say(type(e).__name__)
        writer.close()

    run(main)


@only("4")
def case_asyncio_readers():
    import asyncio

    async def main():
        loop = asyncio.get_running_loop()
        a, b = make_pair()
        b.setblocking(False)
        got = asyncio.Event()
        loop.add_reader(b, got.set)
        loop.call_later(0.005, a.send, b"x")
        await got.wait()
        say(b.recv(1), loop.remove_reader(b), loop.remove_reader(b))
        can = asyncio.Event()
        loop.add_writer(b, can.set)
        await can.wait()
        say(loop.remove_writer(b))

    run(main)


@only("4")
def case_asyncio_subprocess():
    import asyncio

    async def main():
        a, b = make_pair()
        child = await asyncio.create_subprocess_exec("cat", stdin=b, stdout=asyncio.subprocess.PIPE)
        b.close()
        a.sendall(b"through a program")
        a.shutdown(socket.SHUT_WR)
        out, _ = await child.communicate()
        say(out, child.returncode, a.recv(1))

    run(main)


# ---- processes


@only("4")
def case_fork():
    a, b = make_pair()
    pid = os.fork()
    if pid == 0:
        a.close()
        b.sendall(b"child")
        os._exit(0)
    b.close()
    say(read_all(a, 5), a.recv(1), os.waitpid(pid, 0)[1])


@only("4")
def case_subprocess_stdin_and_stdout():
    import subprocess

    a, b = make_pair()
    child = subprocess.Popen(["cat"], stdin=b, stdout=b)
    b.close()
    a.sendall(b"echo")
    say(read_all(a, 4))
    a.shutdown(socket.SHUT_WR)
    say(a.recv(1), child.wait())


@only("4")
def case_subprocess_pass_fds():
    import subprocess
    import sys

    a, b = make_pair()
    text = "import socket, sys; s = socket.socket(fileno=int(sys.argv[1])); s.sendall(s.recv(9)[::-1])"
    child = subprocess.Popen([sys.executable, "-S", "-c", text, str(b.fileno())], pass_fds=[b.fileno()])
    b.close()
    a.sendall(b"reverse")
    say(read_all(a, 7), a.recv(1), child.wait())


@only("4")
def case_subprocess_that_inherits_nothing():
    import subprocess

    a, b = make_pair()
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    b.close()
    say(a.recv(1))
    child.stdin.close()
    say(child.wait())


@only("4")
def case_inheritable():
    a, b = make_pair()
    say(a.get_inheritable(), b.get_inheritable(), a.dup().get_inheritable())
    a.set_inheritable(True)
    say(a.get_inheritable(), os.get_inheritable(a.fileno()))


@only("4")
def case_spawn():
    a, b = make_pair()
    actions = [(os.POSIX_SPAWN_DUP2, b.fileno(), 0), (os.POSIX_SPAWN_DUP2, b.fileno(), 1)]
    pid = os.posix_spawnp("cat", ["cat"], os.environ, file_actions=actions)
    b.close()
    a.sendall(b"spawned")
    say(read_all(a, 7))
    a.shutdown(socket.SHUT_WR)
    say(a.recv(1), os.waitpid(pid, 0)[1])


def work(conn, l):
    s, _ = l.accept()
    conn.send(s.recv(3))
    s.close()


def processes(method):
    import multiprocessing

    context = multiprocessing.get_context(method)
    l = listener()
    ours, theirs = context.Pipe()
    child = context.Process(target=work, args=(theirs, l))
    child.start()
    c = connect_to(l)
    c.sendall(b"job")
    say(ours.recv(), c.recv(1))
    child.join()
    say(child.exitcode)


@only("4")
def case_multiprocessing_fork():
    processes("fork")


SHARED = None


def answer(_):
    s, _ = SHARED.accept()
    octets = s.recv(3)
    s.sendall(octets.upper())
    s.close()
    return octets


@only("4")
def case_multiprocessing_pool():
    import multiprocessing

    global SHARED
    SHARED = listener()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        jobs = pool.map_async(answer, range(4))
        clients = [connect_to(SHARED) for _ in range(4)]
        for c in clients:
            c.sendall(b"job")
        say([read_all(c, 3) for c in clients], jobs.get())


@only("4")
def case_multiprocessing_reduction():
    """A socket in a pickle: by SCM_RIGHTS from the resource sharer's thread."""
    import multiprocessing.reduction as reduction

    a, b = make_pair()
    r, w = socket.socketpair(socket.AF_UNIX)
    pid = os.fork()
    if pid == 0:
        s = socket.socket(fileno=reduction.recv_handle(Handle(r)))
        s.sendall(b"by handle")
        os._exit(0)
    reduction.send_handle(Handle(w), b.fileno(), pid)
    b.close()
    say(read_all(a, 9), os.waitpid(pid, 0)[1], a.recv(1))


class Handle:
    def __init__(self, s):
        self.fileno = s.fileno


@only("4")
def case_send_fds():
    a, b = make_pair()
    r, w = socket.socketpair(socket.AF_UNIX)
    socket.send_fds(w, [b"two"], [a.fileno(), b.fileno()])
    a.close()
    b.close()
    text, fds, flags, _ = socket.recv_fds(r, 10, 4)
    a, b = (socket.socket(fileno=fd) for fd in fds)
    a.sendall(b"passed")
    say(text, flags, read_all(b, 6), a.family == cases.FAMILY)


@only("4")
def case_share_by_fromfd():
    a, b = make_pair()
    c = socket.fromfd(b.fileno(), cases.FAMILY, socket.SOCK_STREAM)
    b.close()
    a.sendall(b"x")
    say(c.recv(1), c.getpeername() == a.getsockname())
    number = c.detach()
    d = socket.socket(fileno=number)
    a.close()
    say(c.fileno(), d.recv(1))


# ---- threads


@only("4")
def case_thread_blocked_in_recv():
    a, b = make_pair()
    got = []
    t = threading.Thread(target=lambda: got.append(b.recv(1)))
    t.start()
    a.sendall(b"x")
    t.join()
    say(got)


@only("4")
def case_thread_shutdown_wakes():
    a, b = make_pair()
    got = []
    t = threading.Thread(target=lambda: got.append(b.recv(1)))
    t.start()
    b.shutdown(socket.SHUT_RDWR)
    t.join()
    say(got, a.recv(1))


@only("4")
def case_threads_accept():
    l = listener()

    def serve():
        s, _ = l.accept()
        s.sendall(b"t")
        s.close()

    threads = [threading.Thread(target=serve) for _ in range(5)]
    for t in threads:
        t.start()
    say([read_all(connect_to(l), 1) for _ in range(5)])
    for t in threads:
        t.join()


@only("4")
def case_interrupted_recv_goes_on():
    """PEP 475: the interpreter calls again."""
    a, b = make_pair()
    seen = []

    def handler(*_):
        seen.append(1)
        if len(seen) == 3:
            a.sendall(b"x")

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
    say(b.recv(1))
    signal.setitimer(signal.ITIMER_REAL, 0)
    say(len(seen) >= 3)


@only("4")
def case_handler_that_raises():
    class Stop(Exception):
        pass

    def handler(*_):
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise Stop

    a, b = make_pair()
    signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)  # one before recv has begun interrupts nothing
        b.recv(1)
    except Stop:
        say("stopped")
    a.sendall(b"x")
    say(b.recv(1))


@only("4")
def case_timeouts():
    a, b = make_pair()
    b.settimeout(0.01)
    tell("recv", b.recv, 1)
    b.settimeout(20)
    a.sendall(b"x")
    say(b.recv(1), b.gettimeout())
    b.settimeout(0)
    tell("recv", b.recv, 1)
    b.settimeout(None)
    say(b.getblocking(), a.getblocking())
    l = listener()
    l.settimeout(0.01)
    tell("accept", l.accept)
    socket.setdefaulttimeout(5)
    say(socket.socket(cases.FAMILY).gettimeout())


cases.main()
