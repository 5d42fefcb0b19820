"""servers: what Python's own servers and frameworks do with sockets: threads, forks, event loops, TLS."""

import os
import socket
import tempfile
import threading

import cases
from cases import listener, read_all, say

# What takes long to import is imported by the cases that need it.


def url(port, path="/"):
    host = f"[{cases.ADDRESS}]" if ":" in cases.ADDRESS else cases.ADDRESS
    return f"http://{host}:{port}{path}"


def pages():
    import http.server

    class Pages(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, body):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            self.answer(self.path.encode() * 100)

        def do_POST(self):
            self.answer(self.rfile.read(int(self.headers["Content-Length"]))[::-1])

        def log_message(self, *_):
            pass

    return serve(http.server.ThreadingHTTPServer, Pages)


def serve(kind, handler):
    class Server(kind):
        address_family = cases.FAMILY
        allow_reuse_address = True

    server = Server((cases.ADDRESS, 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    return server, thread


def stop(server, thread):
    server.shutdown()
    thread.join()
    server.server_close()


def case_http_server():
    import urllib.request

    server, thread = pages()
    port = server.server_address[1]
    for i in range(5):
        with urllib.request.urlopen(url(port, f"/page{i}"), timeout=50) as r:
            say(r.status, r.read() == f"/page{i}".encode() * 100)
    stop(server, thread)


def case_http_keep_alive():
    import http.client

    server, thread = pages()
    c = http.client.HTTPConnection(cases.ADDRESS, server.server_address[1], timeout=50)
    for i in range(10):
        c.request("POST", "/", body=os.urandom(20000) + b"end")
        say(c.getresponse().read()[:3])
    c.close()
    stop(server, thread)


def case_http_file():
    import http.server
    import urllib.request

    with tempfile.TemporaryDirectory() as root:
        with open(os.path.join(root, "file"), "wb") as f:
            f.write(bytes(range(256)) * 4000)

        class Files(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args):
                super().__init__(*args, directory=root)

            def log_message(self, *_):
                pass

        server, thread = serve(http.server.ThreadingHTTPServer, Files)
        port = server.server_address[1]
        with urllib.request.urlopen(url(port, "/file"), timeout=50) as r:
            say(r.read() == bytes(range(256)) * 4000)
        try:
            urllib.request.urlopen(url(port, "/none"), timeout=50)
        except urllib.error.HTTPError as e:
            say(e.code)
            e.close()
        stop(server, thread)


def ask_upper(name):
    import socketserver

    class Upper(socketserver.StreamRequestHandler):
        def handle(self):
            for line in self.rfile:
                self.wfile.write(line.upper())

    server, thread = serve(getattr(socketserver, name), Upper)
    for i in range(6):
        with socket.create_connection((cases.ADDRESS, server.server_address[1]), 50) as s:
            s.sendall(f"line {i}\n".encode())
            s.shutdown(socket.SHUT_WR)
            say(s.makefile().read().strip())
    stop(server, thread)


def case_socketserver():
    ask_upper("TCPServer")


def case_socketserver_threads():
    ask_upper("ThreadingTCPServer")


def case_socketserver_forks():
    ask_upper("ForkingTCPServer")


async def echo(reader, writer):
    while data := await reader.read(1000):
        writer.write(data)
        await writer.drain()
    writer.close()


def case_asyncio_streams():
    import asyncio

    async def main():
        server = await asyncio.start_server(echo, cases.ADDRESS, 0)
        port = server.sockets[0].getsockname()[1]

        async def client(i):
            reader, writer = await asyncio.open_connection(cases.ADDRESS, port)
            text = f"client {i} ".encode() * 500
            writer.write(text)
            writer.write_eof()
            got = await reader.read()
            writer.close()
            await writer.wait_closed()
            return got == text

        say(all(await asyncio.gather(*(client(i) for i in range(30)))))
        server.close()
        await server.wait_closed()

    asyncio.run(main())


def case_asyncio_flow_control():
    import asyncio

    async def main():
        async def slow(reader, writer):
            await asyncio.sleep(0)
            n = 0
            while data := await reader.read(65536):
                n += len(data)
            writer.write(str(n).encode())
            writer.close()

        server = await asyncio.start_server(slow, cases.ADDRESS, 0)
        reader, writer = await asyncio.open_connection(
            cases.ADDRESS, server.sockets[0].getsockname()[1]
        )
        for _ in range(40):
            writer.write(bytes(100_000))
            await writer.drain()
        writer.write_eof()
        say(await reader.read())
        writer.close()
        server.close()

    asyncio.run(main())


def case_asyncio_errors():
    import asyncio

    async def main():
        s = listener()
        port = s.getsockname()[1]
        s.close()
        try:
            await asyncio.open_connection(cases.ADDRESS, port)
        except ConnectionRefusedError as e:
            say(type(e).__name__, e.errno)
        server = await asyncio.start_server(lambda r, w: w.transport.abort(), cases.ADDRESS, 0)
        reader, _ = await asyncio.open_connection(
            cases.ADDRESS, server.sockets[0].getsockname()[1]
        )
        try:
            say(await reader.read())
        except ConnectionResetError as e:
            say(type(e).__name__, e.errno)
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.01)
        except TimeoutError:
            say("timeout")
        server.close()

    asyncio.run(main())


def case_asyncio_sock_calls():
    import asyncio

    async def main():
        loop = asyncio.get_running_loop()
        s, c = listener(), socket.socket(cases.FAMILY)
        s.setblocking(False)
        c.setblocking(False)
        accepted = asyncio.ensure_future(loop.sock_accept(s))
        await loop.sock_connect(c, s.getsockname())
        a, _ = await accepted
        await loop.sock_sendall(a, bytes(300_000))
        a.close()
        n = 0
        while data := await loop.sock_recv(c, 65536):
            n += len(data)
        say(n)

    asyncio.run(main())


def child(conn, n):
    conn.sendall(f"child {n}".encode())
    conn.close()


def processes(method):
    import multiprocessing

    context = multiprocessing.get_context(method)
    s = listener()
    for n in range(2):
        c = cases.connect_to(s)
        a, _ = s.accept()
        p = context.Process(target=child, args=(a, n))
        p.start()
        a.close()
        say(read_all(c, 7))
        p.join()
        say(c.recv(1), p.exitcode)


def case_multiprocessing_fork():
    processes("fork")


def case_multiprocessing_spawn():
    processes("spawn")  # the socket goes by SCM_RIGHTS


def acceptor(s):
    a, _ = s.accept()
    a.sendall(b"x")
    a.close()


def case_prefork():
    import multiprocessing

    s = listener()
    workers = [multiprocessing.get_context("fork").Process(target=acceptor, args=(s,)) for _ in range(3)]
    for w in workers:
        w.start()
    for _ in workers:
        c = cases.connect_to(s)
        say(read_all(c, 1))
        c.close()
    for w in workers:
        w.join()


def case_manager():
    from multiprocessing.connection import Client, Listener

    kind = "AF_INET"
    if cases.FAMILY == socket.AF_INET6:
        say("IPv4 only")
        return
    with Listener((cases.ADDRESS, 0), kind, authkey=b"key") as server:
        got = []

        def one():
            with server.accept() as conn:
                got.append(conn.recv())
                conn.send({"answer": 42})

        thread = threading.Thread(target=one)
        thread.start()
        with Client(server.address, authkey=b"key") as conn:
            conn.send(["a", 1, None])
            say(conn.recv())
        thread.join()
        say(got)


def case_tls():
    import shutil
    import ssl
    import subprocess

    with tempfile.TemporaryDirectory() as d:
        cert, key = os.path.join(d, "cert"), os.path.join(d, "key")
        subprocess.run(
            [shutil.which("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
             "-nodes", "-keyout", key, "-out", cert, "-days", "1", "-subj", "/CN=test"],
            check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(cert, key)
        client = ssl.create_default_context(cafile=cert)
        client.check_hostname = False
        s = listener()

        def one():
            a, _ = s.accept()
            with server.wrap_socket(a, server_side=True) as t:
                while data := t.recv(10000):
                    t.sendall(data)

        thread = threading.Thread(target=one)
        thread.start()
        with client.wrap_socket(cases.connect_to(s)) as t:
            say(t.version())
            t.sendall(bytes(50_000))
            say(len(read_all(t, 50_000)))
        thread.join()


if __name__ == "__main__":
    cases.main()
