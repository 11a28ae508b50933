"""dgram_proxy.py PORT TO-IP TO-PORT LOSS TWICE LATE SEED: pass datagrams on, badly.

LOSS percent of them are lost, TWICE percent come twice, LATE percent up to
30 ms later than those behind them; in both directions.  It speaks to the far
end from 127.0.0.99, a socket for each client.  Says "ready"; when it is ended
(SIGTERM), a line of JSON: how many passed and were lost, by direction, and
answers that were longer than any request before them.
"""
import heapq
import json
import random
import selectors
import signal
import socket
import sys
import time

PORT, TO, TO_PORT = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
LOSS, TWICE, LATE = (float(a) / 100 for a in sys.argv[4:7])
RNG = random.Random(int(sys.argv[7]))
ANSWER = 0x8000


class Proxy:
    def __init__(self):
        self.sel = selectors.DefaultSelector()
        self.near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.near.bind(("127.0.0.1", PORT))
        for opt in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self.near.setsockopt(socket.SOL_SOCKET, opt, 4 << 20)
        self.near.setblocking(False)
        self.sel.register(self.near, selectors.EVENT_READ)
        self.far = {}                   # client -> socket
        self.later = []                 # (when, n, send)
        self.n = 0
        self.largest = {}               # (client, direction of the request, type) -> bytes
        self.stats = dict(to_tracker=0, to_peers=0, lost_to_tracker=0, lost_to_peers=0, longer=0)

    def measure(self, client, way, data):
        kind = int.from_bytes(data[16:18], "big")
        key = (client, way, kind)
        if not kind & ANSWER:
            self.largest[key] = max(len(data), self.largest.get(key, 0))
        elif len(data) > self.largest.get((client, "to_peers" if way == "to_tracker" else "to_tracker",
                                           kind & ~ANSWER), 0):
            self.stats["longer"] += 1

    def pass_on(self, client, way, data, send):
        self.measure(client, way, data)
        if RNG.random() < LOSS:
            self.stats["lost_" + way] += 1
            return
        self.stats[way] += 1
        times = 2 if RNG.random() < TWICE else 1
        for _ in range(times):
            if RNG.random() < LATE:
                self.n += 1
                heapq.heappush(self.later, (time.monotonic() + RNG.random() * 0.03, self.n, send))
            else:
                send()

    def from_near(self):
        data, client = self.near.recvfrom(65536)
        s = self.far.get(client)
        if s is None:
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.bind(("127.0.0.99", 0))
            s.connect((TO, TO_PORT))
            s.setblocking(False)
            self.far[client] = s
            self.sel.register(s, selectors.EVENT_READ, client)
        self.pass_on(client, "to_tracker", data, lambda: self.quietly(s.send, data))

    def from_far(self, s, client):
        data = s.recv(65536)
        self.pass_on(client, "to_peers", data, lambda: self.quietly(self.near.sendto, data, client))

    @staticmethod
    def quietly(send, *args):
        try:
            send(*args)
        except OSError:
            pass                        # full, or nobody there: lost

    def run(self):
        while True:
            now = time.monotonic()
            while self.later and self.later[0][0] <= now:
                heapq.heappop(self.later)[2]()
            wait = min(1.0, self.later[0][0] - now) if self.later else 1.0
            for key, _ in self.sel.select(wait):
                try:
                    for _ in range(32):
                        if key.fileobj is self.near:
                            self.from_near()
                        else:
                            self.from_far(key.fileobj, key.data)
                except OSError:
                    pass                # no more of them


def main():
    proxy = Proxy()

    def end(*_):
        print(json.dumps(proxy.stats), flush=True)
        sys.exit(0)
    signal.signal(signal.SIGTERM, end)
    print("ready", flush=True)
    proxy.run()


main()
