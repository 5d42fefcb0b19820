"""python: the socket module, and what its wrappers make of errors."""

import select
import selectors
import socket

import cases
from cases import connect_to, listener, make_pair, read_all, say, tell


def case_makefile():
    c, a = make_pair()
    with c.makefile("rw", newline="\n") as f, a.makefile("rw", newline="\n") as g:
        f.write("one\ntwo\n")
        f.flush()
        say([g.readline(), g.readline()])
        g.write("back\n")
        g.flush()
        say(f.readline())
    c.close()
    say(a.recv(10))


def case_timeouts():
    c, a = make_pair()
    c.settimeout(0.02)
    try:
        c.recv(1)
    except TimeoutError as e:
        say("recv:", e)
    c.settimeout(None)
    a.sendall(b"x")
    say(c.recv(10))
    c.setblocking(False)
    tell("not blocking", c.recv, 1)


def case_errors():
    s = listener()
    port = s.getsockname()[1]
    tell("bound twice", socket.socket(cases.FAMILY).bind, (cases.ADDRESS, port))
    s.close()
    tell("refused", socket.socket(cases.FAMILY).connect, (cases.ADDRESS, port))
    tell("not connected", socket.socket(cases.FAMILY).send, b"x")
    c, a = make_pair()
    a.close()
    say(c.recv(1))


def case_selectors():
    for kind in selectors.SelectSelector, selectors.PollSelector, selectors.EpollSelector:
        c, a = make_pair()
        with kind() as sel:
            sel.register(a, selectors.EVENT_READ, "reader")
            say(kind.__name__, sel.select(0))
            c.sendall(b"x")
            [(key, events)] = sel.select()
            say(key.data, events, a.recv(1))
            sel.modify(a, selectors.EVENT_READ | selectors.EVENT_WRITE, "both")
            [(key, events)] = sel.select()
            say(key.data, events)


def case_select_many():
    pairs = [make_pair() for _ in range(20)]
    for c, _ in pairs[::2]:
        c.sendall(b"x")
    for _, a in pairs[::2]:
        select.select([a], [], [])
    readable, writable, _ = select.select([a for _, a in pairs], [a for _, a in pairs], [], 0)
    say(len(readable), len(writable))


def case_recv_into():
    c, a = make_pair()
    c.sendmsg([b"abc", b"", b"defg"])
    buf = bytearray(16)
    view = memoryview(buf)
    n = 0
    while n < 7:
        n += a.recv_into(view[n:])
    say(bytes(buf[:7]))


def case_sendfile():
    import tempfile

    c, a = make_pair()
    with tempfile.TemporaryFile() as f:
        f.write(bytes(range(256)) * 100)
        f.seek(256)
        say(c.sendfile(f, offset=256, count=5000))
    say(read_all(a, 5000) == (bytes(range(256)) * 100)[256:5256])


def case_create_connection():
    s = listener()
    with socket.create_connection(s.getsockname()[:2], timeout=20) as c:
        a, peer = s.accept()
        say(peer == c.getsockname())
        a.shutdown(socket.SHUT_WR)
        say(c.recv(1))


cases.main()
