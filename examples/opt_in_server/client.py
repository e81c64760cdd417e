#!/usr/bin/env python3
"""An ordinary client of the example server: knows nothing of Axio but the server's four words.

    client.py PORT kernel      the server has no Axio: every request must say so
    client.py PORT ring        both ends have Axio: accelerated, released, accelerated again, with the bytes counted
"""
import errno
import socket
import sys


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unread = b""

    def line(self, text):
        self.socket.sendall(text.encode() + b"\n")
        while b"\n" not in self.unread:
            more = self.socket.recv(65536)
            if not more:
                raise SystemExit("client.py: the server closed the connection")
            self.unread += more
        answer, self.unread = self.unread.split(b"\n", 1)
        return answer.decode()

    def echo(self, count):
        for number in range(count):
            sent = f"line {number} " + "x" * (number % 200)
            if self.line(sent) != sent:
                raise SystemExit(f"client.py: line {number} came back changed")

    def status(self):
        """The server's own view: `in` is what the client sent."""
        word, error, *fields = self.line("status").split()
        if (word, error) != ("status", "0"):
            raise SystemExit(f"client.py: status answered {error}")
        status = dict(field.split("=") for field in fields)
        return {key: value if key == "reason" else int(value) for key, value in status.items()}


def expect(holds, what, *seen):
    print("  ok  " if holds else "  NOT ", what, *seen)
    if not holds:
        raise SystemExit(1)


def kernel(connection):
    connection.echo(1000)
    expect(connection.line("present") == "present 0", "axio_present() says that only the kernel is there")
    for word in ("accelerate", "release", "status"):
        expect(connection.line(word) == f"{word} {errno.ENOTTY}", f"{word}: ENOTTY")


def ring(connection):
    expect(connection.line("present") == "present 1", "axio_present() says that Axio is there")
    connection.echo(1000)
    first = connection.status()
    expect(first["state"] == 4 and first["path"] == 1, "accelerated after 1000 exchanges:", first)
    expect(first["ring_in"] > 10 * first["kernel_in"], "most bytes came by ring")
    answer = connection.line("release")
    expect(answer == "release 0 reason=released", "released:", answer)
    connection.echo(1000)
    second = connection.status()
    expect(second["path"] == 0 and second["reason"] == "released", "back in the kernel:", second)
    expect(second["kernel_in"] - first["kernel_in"] > 50_000, "1000 more exchanges went through the kernel")
    connection.line("accelerate")
    connection.echo(1000)
    third = connection.status()
    expect(third["path"] == 1, "accelerated again:", third)
    expect(third["ring_in"] - second["ring_in"] > 50_000, "and the rest by ring")


if __name__ == "__main__":
    _, port, mode = sys.argv
    {"kernel": kernel, "ring": ring}[mode](Connection(int(port)))
