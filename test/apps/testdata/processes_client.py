"""HOST PORT COUNT: connections, 20 at once; each has its octets echoed."""
import concurrent.futures
import socket
import sys


def connection(number):
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=100) as s, s.makefile("rb") as lines:
        process = lines.readline()
        data = bytes((number + i) % 251 for i in range(50000))
        s.sendall(data)
        assert lines.read(len(data)) == data
        s.shutdown(socket.SHUT_WR)
        assert lines.read() == b""
        return process


with concurrent.futures.ThreadPoolExecutor(20) as pool:
    seen = list(pool.map(connection, range(int(sys.argv[3]))))
print(f"{len(seen)} connections served by {len(set(seen))} processes")
