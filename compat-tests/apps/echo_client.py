"""Sends pseudo-random messages to an echo server, checks each answer, prints a hash of everything that came back.

usage: echo_client.py PORT CONNECTIONS MESSAGES LONGEST
Half of the connections use blocking sockets in threads, the other half asyncio streams.
"""
import asyncio
import hashlib
import random
import socket
import sys
import threading

port, connections, messages, longest = map(int, sys.argv[1:5])
digests = {}


def message(source):
    length = source.randint(1, longest) if source.random() < 0.1 else source.randint(1, 300)
    return source.randbytes(length)


def exactly(connection, length):
    data = bytearray()
    while len(data) < length:
        piece = connection.recv(length - len(data))
        if not piece:
            raise SystemExit(f"end of stream after {len(data)} of {length} bytes")
        data += piece
    return bytes(data)


def blocking(index):
    source = random.Random(index)
    digest = hashlib.sha256()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(messages):
            sent = message(source)
            # A sender of long messages must read while it writes, or both ends may fill.
            thread = threading.Thread(target=connection.sendall, args=(sent,))
            thread.start() if len(sent) > 100_000 else connection.sendall(sent)
            got = exactly(connection, len(sent))
            if thread.ident:
                thread.join()
            if got != sent:
                raise SystemExit(f"connection {index}: the answer differs")
            digest.update(got)
        connection.shutdown(socket.SHUT_WR)
        if connection.recv(1):
            raise SystemExit(f"connection {index}: bytes after the end")
    digests[index] = digest.hexdigest()


async def streaming(index):
    source = random.Random(index)
    digest = hashlib.sha256()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(messages):
        sent = message(source)
        writer.write(sent)
        got = await reader.readexactly(len(sent))
        if got != sent:
            raise SystemExit(f"connection {index}: the answer differs")
        digest.update(got)
    writer.write_eof()
    if await reader.read():
        raise SystemExit(f"connection {index}: bytes after the end")
    writer.close()
    digests[index] = digest.hexdigest()


async def all_streaming():
    await asyncio.gather(*(streaming(index) for index in range(0, connections, 2)))


threads = [threading.Thread(target=blocking, args=(index,)) for index in range(1, connections, 2)]
for thread in threads:
    thread.start()
asyncio.run(all_streaming())
for thread in threads:
    thread.join()
if len(digests) != connections:
    raise SystemExit(f"only {len(digests)} of {connections} connections finished")
whole = hashlib.sha256("".join(digests[index] for index in sorted(digests)).encode())
print(whole.hexdigest(), sum(1 for _ in digests), "connections")
