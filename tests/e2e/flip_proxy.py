"""flip_proxy.py PORT TO-IP TO-PORT AFTER: pass TCP on, flipping one bit.

Connects from 127.0.0.99.  In each of the first two connections that carry
that much, one bit is flipped after AFTER bytes from the client.  Says "ready",
then "flipped" for each.
"""
import selectors
import socket
import sys

PORT, TO, TO_PORT, AFTER = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
FLIPS = 2


def main():
    sel = selectors.DefaultSelector()
    listener = socket.create_server(("0.0.0.0", PORT))
    sel.register(listener, selectors.EVENT_READ, None)
    print("ready", flush=True)
    flips = 0
    seen = {}
    while True:
        for key, _ in sel.select(60):
            if key.fileobj is listener:
                near, _ = listener.accept()
                try:
                    far = socket.create_connection((TO, TO_PORT), 5, source_address=("127.0.0.99", 0))
                except OSError:
                    near.close()
                    continue
                sel.register(near, selectors.EVENT_READ, far)
                sel.register(far, selectors.EVENT_READ, near)
                seen[near] = 0
                continue
            here, there = key.fileobj, key.data
            if here.fileno() < 0:
                continue
            try:
                data = here.recv(65536)
                if here in seen and data:
                    seen[here] += len(data)
                    if flips < FLIPS and seen[here] > AFTER:
                        data = data[:-1] + bytes([data[-1] ^ 1])
                        flips += 1
                        seen[here] = -1 << 60
                        print("flipped", flush=True)
                if data:
                    there.settimeout(30)
                    there.sendall(data)
                    continue
            except OSError:
                pass
            for s in (here, there):
                try:
                    sel.unregister(s)
                except (KeyError, ValueError):
                    pass
                s.close()


main()
