"""Four processes accept on the first port; four others are passed the connections of the second."""
import multiprocessing
import multiprocessing.connection
import multiprocessing.reduction
import os
import signal
import socket
import sys


def serve(connection):
    with connection:
        connection.sendall(f"{os.getpid()}\n".encode())
        while data := connection.recv(65536):
            connection.sendall(data)


def accept(listener):
    while True:
        serve(listener.accept()[0])


def receive(pipe):
    while True:
        serve(socket.socket(fileno=multiprocessing.reduction.recv_handle(pipe)))


def main():
    own, passed = (socket.create_server(("", int(port)), backlog=256) for port in sys.argv[1:3])
    processes, pipes = [], []
    for _ in range(4):
        processes.append(multiprocessing.Process(target=accept, args=(own,)))
        here, there = multiprocessing.Pipe()
        processes.append(multiprocessing.Process(target=receive, args=(there,)))
        pipes.append((here, processes[-1]))
    for p in processes:
        p.start()
    signal.signal(signal.SIGTERM, lambda *_: ([p.kill() for p in processes], os._exit(0)))
    turn = 0
    while True:
        connection, _ = passed.accept()
        pipe, process = pipes[turn % len(pipes)]
        multiprocessing.reduction.send_handle(pipe, connection.fileno(), process.pid)
        connection.close()
        turn += 1


main()
