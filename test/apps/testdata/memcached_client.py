"""HOST CLIENTS [IDLE]: each client sets 100 values and gets them, several with one request."""
import random
import socket
import sys
import threading

host, clients = sys.argv[1], int(sys.argv[2])
idle = [socket.create_connection((host, 11211)) for _ in range(int(sys.argv[3]) if len(sys.argv) > 3 else 0)]
values = []


def client(number):
    rng = random.Random(number)
    with socket.create_connection((host, 11211), timeout=100) as s, s.makefile("rb") as answers:
        kept = {}
        for i in range(100):
            key, value = f"{number}.{i}", rng.randbytes(rng.choice((10, 1000, 50000, 500000 if i % 20 == 0 else 100)))
            s.sendall(f"set {key} 0 0 {len(value)}\r\n".encode() + value + b"\r\n")
            assert answers.readline() == b"STORED\r\n"
            kept[key] = value
            if len(kept) == 10:
                s.sendall(b"get " + " ".join(kept).encode() + b"\r\n")
                while (line := answers.readline()) != b"END\r\n":
                    _, name, _, length = line.split()
                    assert answers.read(int(length) + 2) == kept.pop(name.decode()) + b"\r\n"
                    values.append(name)
                assert not kept


threads = [threading.Thread(target=client, args=(i,)) for i in range(clients)]
for t in threads:
    t.start()
for t in threads:
    t.join()
for s in idle:
    s.sendall(b"version\r\n")
    assert s.recv(100).startswith(b"VERSION")
print(f"{clients + len(idle)} clients, {len(values)} values")
