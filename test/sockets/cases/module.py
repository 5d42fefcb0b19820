"""module: what the socket module's conveniences, and the modules built on it, make of a socket."""

import array
import io
import os
import select
import socket
import socketserver
import struct
import tempfile
import threading

import cases
from cases import connect_to, listener, make_pair, read_all, say, tell


def case_makefile_reads_lines():
    c, a = make_pair()
    a.sendall(b"one\ntwo\nthree")
    a.close()
    with c.makefile() as f:
        say(list(f))
    tell("still open", c.recv, 1)


def case_makefile_binary_both_ways():
    c, a = make_pair()
    with c.makefile("rwb") as f, a.makefile("rwb") as g:
        f.write(b"x" * 100000)
        t = threading.Thread(target=f.flush)
        t.start()
        say(len(g.read(100000)))
        t.join()
        g.write(b"done\n")
        g.flush()
        say(f.readline())


def case_makefile_unbuffered():
    c, a = make_pair()
    f = c.makefile("rwb", buffering=0)
    say(type(f).__name__, f.write(b"abc"))
    say(read_all(a, 3))
    a.sendall(b"defg")
    say(len(f.read(2)), len(f.read(2)))
    f.close()
    c.close()
    say(a.recv(1))


def case_makefile_outlives_the_socket():
    c, a = make_pair()
    f = c.makefile("rb")
    c.close()
    a.sendall(b"late\n")
    say(f.readline())
    f.close()
    say(a.recv(1))


def case_fdopen_of_the_descriptor():
    c, a = make_pair()
    with os.fdopen(c.detach(), "rb", buffering=0) as f:
        a.sendall(b"by number")
        a.close()
        got = b""
        while piece := f.read(100):
            got += piece
        say(got)


def case_os_read_and_write():
    c, a = make_pair()
    say(os.write(c.fileno(), b"abc"))
    say(read_all(a, 3))
    say(os.writev(a.fileno(), [b"de", b"", b"f"]))
    say(read_all(c, 2))
    buf = bytearray(4)
    say(os.readv(c.fileno(), [buf]), bytes(buf))
    tell("pread", os.pread, c.fileno(), 1, 0)
    tell("lseek", os.lseek, c.fileno(), 0, 0)


def case_sendall_of_much():
    c, a = make_pair()
    data = os.urandom(1 << 20)
    t = threading.Thread(target=c.sendall, args=(data,))
    t.start()
    say(read_all(a, len(data)) == data)
    t.join()


def case_sendall_with_timeout():
    c, a = make_pair()
    c.settimeout(0.05)
    try:
        c.sendall(b"x" * (64 << 20))
    except TimeoutError as e:
        say(type(e).__name__, e)
    a.close()


def case_recv_into():
    c, a = make_pair()
    buf = bytearray(b"........")
    c.sendall(b"abc")
    say(read_all(a, 1), a.recv_into(memoryview(buf)[2:4]), bytes(buf))
    c.sendall(b"de")
    say(a.recv_into(buf, 2, socket.MSG_WAITALL), bytes(buf))


def case_recvfrom():
    c, a = make_pair()
    c.sendall(b"abc")
    say(a.recvfrom(2))
    buf = bytearray(4)
    say(a.recvfrom_into(buf), bytes(buf))


def case_sendmsg_and_recvmsg():
    c, a = make_pair()
    say(c.sendmsg([b"one", b"", b"two"]))
    say(a.recvmsg(100, 100, socket.MSG_PEEK))
    x, y = bytearray(4), bytearray(10)
    say(a.recvmsg_into([x, y]), bytes(x), bytes(y))
    tell("control", c.sendmsg, [b"x"], [(socket.SOL_SOCKET, 0x7777, b"abcd")])
    say(c.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))]))
    say(a.recvmsg(10, 100))


def case_peek_and_waitall():
    c, a = make_pair()
    c.sendall(b"abcdef")
    say(a.recv(6, socket.MSG_PEEK | socket.MSG_WAITALL))
    say(a.recv(6, socket.MSG_WAITALL))


def case_timeouts_of_each_kind():
    c, a = make_pair()
    for t in (0.01, 0, None, 5):
        c.settimeout(t)
        say(c.gettimeout(), c.getblocking())
        if t is not None and t < 1:
            tell("recv", c.recv, 1)
    try:
        c.settimeout(-1)
    except ValueError as e:
        say(e)


def case_accept_with_timeout():
    s = listener()
    s.settimeout(0.01)
    tell("accept", s.accept)
    s.settimeout(50)
    c = connect_to(s)
    a, peer = s.accept()
    say(a.gettimeout(), peer[:2] == c.getsockname()[:2])


def case_default_timeout():
    socket.setdefaulttimeout(3)
    c, a = make_pair()
    say(c.gettimeout(), a.gettimeout())


def case_create_connection():
    s = listener()
    c = socket.create_connection(s.getsockname()[:2], timeout=5)
    say(c.gettimeout(), c.getpeername()[:2] == s.getsockname()[:2])
    c.close()
    port = s.getsockname()[1]
    s.close()
    tell("refused", socket.create_connection, (cases.ADDRESS, port), 5)


def case_create_connection_from():
    s = listener()
    c = socket.create_connection(s.getsockname()[:2], source_address=(cases.ADDRESS, 0))
    say(c.getsockname()[0] == cases.ADDRESS)


def case_create_server():
    with socket.create_server((cases.ADDRESS, 0), family=cases.FAMILY) as s:
        say(s.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR))
        c = connect_to(s)
        a, _ = s.accept()
        a.sendall(b"hi")
        say(read_all(c, 2))


@cases.only("4")
def case_create_server_of_both_families():
    say(socket.has_dualstack_ipv6())
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as s:
        c = socket.create_connection((cases.ADDRESS, s.getsockname()[1]))
        a, peer = s.accept()
        say(peer[0] == "::ffff:" + cases.ADDRESS)
        say(a.getsockname()[0] == "::ffff:" + cases.ADDRESS)


def case_options():
    c, a = make_pair()
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    say(c.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    say(struct.unpack("ii", c.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)))
    say(len(c.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)))
    c.close()
    tell("reset", a.recv, 1)


def case_detach_and_from_number():
    c, a = make_pair()
    fd = c.detach()
    say(c.fileno())
    again = socket.socket(fileno=fd)
    say(again.family == cases.FAMILY, again.type == socket.SOCK_STREAM, again.proto)
    again.sendall(b"x")
    say(a.recv(1))


def case_dup():
    c, a = make_pair()
    d = c.dup()
    c.close()
    d.sendall(b"x")
    say(a.recv(1), os.get_inheritable(d.fileno()))
    d.close()
    say(a.recv(1))


def case_sendfile():
    c, a = make_pair()
    with tempfile.TemporaryFile() as f:
        f.write(b"0123456789" * 1000)
        f.seek(5)
        t = threading.Thread(target=lambda: say(c.sendfile(f, 5, 5000)))
        t.start()
        got = read_all(a, 5000)
        t.join()
        say(got == (b"5678901234" * 500), f.tell())
    with io.BytesIO(b"memory") as f:
        say(c.sendfile(f))
    say(read_all(a, 6))


def case_os_sendfile_and_splice():
    c, a = make_pair()
    with tempfile.TemporaryFile() as f:
        f.write(b"0123456789")
        f.flush()
        say(os.sendfile(c.fileno(), f.fileno(), 2, 4))
    say(read_all(a, 4))
    r, w = os.pipe()
    os.write(w, b"pipe")
    say(os.splice(r, c.fileno(), 4))
    say(read_all(a, 4))


def case_shutdown_ends_both():
    c, a = make_pair()
    c.shutdown(socket.SHUT_WR)
    say(a.recv(1))
    a.sendall(b"still")
    say(read_all(c, 5))
    a.shutdown(socket.SHUT_RDWR)
    say(c.recv(1))
    tell("send", c.send, b"x")


def case_closed_while_used():
    c, a = make_pair()
    c.close()
    tell("recv", c.recv, 1)
    tell("fileno", c.fileno)
    say(a.recv(1))


def case_select_of_both_kinds():
    c, a = make_pair()
    r, w = os.pipe()
    a.sendall(b"x")
    os.write(w, b"x")
    select.select([c], [], [])
    got = select.select([c, r], [c, w], [c])
    say([len(x) for x in got])


class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())


def case_stream_request_handler():
    class Server(socketserver.ThreadingTCPServer):
        address_family = cases.FAMILY
        allow_reuse_address = True
        daemon_threads = True

    with Server((cases.ADDRESS, 0), Echo) as server:
        t = threading.Thread(target=server.serve_forever, args=(0.01,))
        t.start()
        for i in range(3):
            c = connect_to(server.socket)
            with c.makefile("rw") as f:
                f.write(f"hello {i}\n")
                f.flush()
                say(f.readline().strip())
            c.close()
        server.shutdown()
        t.join()


cases.main()
