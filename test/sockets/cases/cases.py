"""cases: what the Python socket cases share.

A file defines functions case_NAME() and ends with cases.main(). Each runs in an interpreter of its own,
`FILE ADDRESS NAME`, and prints what it observes; the same lines have to come from the kernel's sockets and
from the TOE's. `FILE --list` prints the names of the cases and the families of addresses they are for.
"""

import errno
import signal
import socket
import sys

ADDRESS = None  # that the case may use
FAMILY = socket.AF_INET


def say(*what):
    """Prints a line at once."""
    print(*what, flush=True)


def tell(what, call, *args):
    """Prints what a call returns, or the name of its error, and returns the former."""
    try:
        result = call(*args)
    except OSError as e:
        say(f"{what}:", type(e).__name__, errno.errorcode.get(e.errno, e))
        return None
    say(f"{what}:", result)
    return result


def only(families):
    """Marks a case that is for one family of addresses: "4" or "6"."""

    def mark(f):
        f.families = families
        return f

    return mark


def listener(backlog=64):
    s = socket.socket(FAMILY)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((ADDRESS, 0))
    s.listen(backlog)
    return s


def connect_to(s):
    c = socket.socket(FAMILY)
    c.connect(s.getsockname())
    return c


def make_pair():
    """A connection; the first is the side that connected."""
    s = listener()
    c = connect_to(s)
    a, _ = s.accept()
    s.close()
    return c, a


def read_all(s, n):
    got = b""
    while len(got) < n:
        piece = s.recv(n - len(got))
        if not piece:
            raise EOFError(f"end of stream after {len(got)} of {n}")
        got += piece
    return got


def main():
    global ADDRESS, FAMILY
    script = sys.modules["__main__"]
    found = {n[5:]: f for n, f in vars(script).items() if n.startswith("case_")}
    if sys.argv[1:] == ["--list"]:
        for name, f in found.items():
            print(name, getattr(f, "families", "4 6"))
        return
    ADDRESS, name = sys.argv[1:]
    FAMILY = socket.AF_INET6 if ":" in ADDRESS else socket.AF_INET
    signal.alarm(60)
    found[name]()
    say("done")
