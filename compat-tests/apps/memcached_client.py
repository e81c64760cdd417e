"""A raw memcached client: threads with a connection each set and get pseudo-random values, also several at once.

usage: memcached_client.py PORT THREADS OPERATIONS
Prints a hash of all answers. The order within a connection is fixed, so the hash is the same in every run.
"""
import hashlib
import random
import socket
import sys
import threading

port, threads, operations = map(int, sys.argv[1:4])
digests = {}


class Connection:
    def __init__(self):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = bytearray()

    def fill(self):
        piece = self.socket.recv(65536)
        if not piece:
            raise SystemExit("the server ended the connection")
        self.data += piece

    def line(self):
        while b"\r\n" not in self.data:
            self.fill()
        line, _, rest = bytes(self.data).partition(b"\r\n")
        self.data = bytearray(rest)
        return line

    def exactly(self, length):
        while len(self.data) < length:
            self.fill()
        piece = bytes(self.data[:length])
        del self.data[:length]
        return piece

    def values(self):
        while (line := self.line()) != b"END":
            _, key, _, length = line.split()
            yield key, self.exactly(int(length) + 2)[:-2]


def work(index):
    source = random.Random(index)
    digest = hashlib.sha256()
    connection = Connection()
    known = {}
    for _ in range(operations):
        key = b"k%d-%d" % (index, source.randrange(20))
        if not known or source.random() < 0.4:
            value = source.randbytes(source.choice((1, 100, 1000, 60_000, 300_000 if source.random() < 0.1 else 10)))
            connection.socket.sendall(b"set %s 0 0 %d\r\n" % (key, len(value)) + value + b"\r\n")
            answer = connection.line()
            if answer != b"STORED":
                raise SystemExit(f"set: {answer!r}")
            known[key] = value
            digest.update(answer)
        else:
            keys = sorted(source.sample(sorted(known), min(len(known), source.choice((1, 1, 5)))))
            connection.socket.sendall(b"get " + b" ".join(keys) + b"\r\n")
            found = dict(connection.values())
            for key in keys:
                if found.get(key) != known[key]:
                    raise SystemExit(f"thread {index}: a value differs")
                digest.update(found[key])
    connection.socket.sendall(b"quit\r\n")
    digests[index] = digest.hexdigest()


workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
if len(digests) != threads:
    raise SystemExit(f"only {len(digests)} of {threads} threads finished")
print(hashlib.sha256("".join(digests[index] for index in sorted(digests)).encode()).hexdigest())
