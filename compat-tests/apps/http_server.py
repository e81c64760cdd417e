"""The standard library's file server (python3 -m http.server) that ends in an orderly way at SIGTERM.

usage: http_server.py DIRECTORY. Prints its port.
"""
import functools
import http.server
import signal
import sys

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
http.server.SimpleHTTPRequestHandler.protocol_version = "HTTP/1.1"
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()
