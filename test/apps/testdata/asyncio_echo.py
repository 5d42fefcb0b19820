"""An echo server and its clients: server PORT TLSPORT KEY, client HOST PORT [KEY]."""
import asyncio
import signal
import ssl
import sys

CLIENTS, OCTETS, PIECE = 40, 256 << 10, 10000


async def echo(reader, writer):
    while data := await reader.read(PIECE):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
    writer.close()


async def serve(port, tls_port, key):
    child = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(key)
    servers = [await asyncio.start_server(echo, None, port, backlog=128),
               await asyncio.start_server(echo, None, tls_port, backlog=128, ssl=context)]
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    await stop.wait()
    for s in servers:
        s.close()
        await s.wait_closed()
    out, _ = await child.communicate(b"stopped\n")
    print(out.decode(), end="", flush=True)


async def send(writer, data):
    for i in range(0, len(data), PIECE):
        writer.write(data[i:i + PIECE])
        await writer.drain()


async def client(number, host, port, context):
    data = bytes((number + i) % 251 for i in range(4096)) * (OCTETS // 4096)
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    _, got = await asyncio.gather(send(writer, data), reader.readexactly(len(data)))
    assert got == data
    if writer.can_write_eof():
        writer.write_eof()
        assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    return len(got)


async def clients(host, port, key):
    context = None
    if key:
        context = ssl.create_default_context(cafile=key)
    got = await asyncio.gather(*(client(i, host, port, context) for i in range(CLIENTS)))
    print(f"{len(got)} connections, {sum(got)} octets each way")


if sys.argv[1] == "server":
    asyncio.run(serve(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
else:
    asyncio.run(clients(sys.argv[2], int(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else None))
