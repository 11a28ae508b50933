"""hostile.py ATTACK JSON: bytes that nobody should send, until it is ended (SIGTERM).

Says "ready" once it is under way; at the end a line of JSON: how often it did
what.  It keeps to its rates, so that what is measured beside it is the swarm
and not the machine.  JSON: {"ip", "port"} of the victim, and what is said at
each attack.  TLS is OpenSSL's own, through ctypes: nothing here is net/'s.
"""
import collections
import contextlib
import ctypes
import errno
import hashlib
import hmac
import itertools
import json
import os
import random
import resource
import select
import signal
import socket
import ssl
import struct
import sys
import time

CLIENT, TRACKER, PEER, RELAY = 3, 2, 1, 4       # roles
ANSWER = 0x8000
HELLO, HEARTBEAT, READDIR, GET = 0x0001, 0x0002, 0x0103, 0x0502
BODY_MAX, BULK_MAX = 8 << 20, (16 << 20) + 16
ROOT = 1

done = collections.Counter()
stopped = False


def on_term(*_):
    global stopped
    stopped = True


def pace(rate):
    """Counts up, so many times a second, until it is ended."""
    start = time.monotonic()
    for n in itertools.count():
        if stopped:
            return
        ahead = start + n / rate - time.monotonic()
        if ahead > 0.002:
            time.sleep(ahead)
        elif ahead < -1:                # late: no burst to make up for it
            start -= ahead
        yield n


# ------------------------------------------------------------ TLS with the key

def library(name, **functions):
    lib = ctypes.CDLL(name)
    for f, (result, *args) in functions.items():
        getattr(lib, f).restype, getattr(lib, f).argtypes = result, args
    return lib


P, I, S, L = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t
OFFER = ctypes.CFUNCTYPE(I, P, P, ctypes.POINTER(P), ctypes.POINTER(L), ctypes.POINTER(P))
lib = library(
    "libssl.so.3", TLS_method=(P,), SSL_CTX_new=(P, P), SSL_CTX_set_ciphersuites=(I, P, S), SSL_new=(P, P),
    SSL_CTX_set_psk_use_session_callback=(None, P, OFFER), SSL_SESSION_new=(P,),
    SSL_SESSION_set1_master_key=(I, P, S, L), SSL_CIPHER_find=(P, P, S), SSL_SESSION_set_cipher=(I, P, P),
    SSL_SESSION_set_protocol_version=(I, P, I), SSL_set_fd=(I, P, I), SSL_connect=(I, P), SSL_free=(None, P),
    SSL_CTX_free=(None, P), SSL_write=(I, P, S, I), SSL_read=(I, P, P, I))


def derive(key_file, identity):
    """HKDF-SHA256, as PROTOCOL.md says."""
    with open(key_file) as f:
        prk = hmac.digest(b"pspfs/1", bytes.fromhex(f.read().strip()), "sha256")
    return hmac.digest(prk, identity + b"\1", "sha256")


def identity(role, own, to_role, to):
    return f"pspfs/1 {role} {own:016x} {to_role} {to:016x}".encode()


class Tls:
    """The connecting end, with a PSK; over a blocking socket."""

    def __init__(self, sock, psk, name):
        self.sock, self.name = sock, ctypes.create_string_buffer(name)
        self.ctx = lib.SSL_CTX_new(lib.TLS_method())

        def offer(s, md, where, length, session):
            made = lib.SSL_SESSION_new()
            lib.SSL_SESSION_set1_master_key(made, psk, len(psk))
            lib.SSL_SESSION_set_cipher(made, lib.SSL_CIPHER_find(s, b"\x13\x01"))
            lib.SSL_SESSION_set_protocol_version(made, 0x0304)
            where[0] = ctypes.addressof(self.name)
            length[0] = len(name)
            session[0] = made
            return 1
        self.offer = OFFER(offer)       # kept: C has it
        lib.SSL_CTX_set_psk_use_session_callback(self.ctx, self.offer)
        lib.SSL_CTX_set_ciphersuites(self.ctx, b"TLS_AES_128_GCM_SHA256")
        self.ssl = lib.SSL_new(self.ctx)
        lib.SSL_set_fd(self.ssl, sock.fileno())

    def connect(self):
        return lib.SSL_connect(self.ssl) == 1

    def put(self, data):
        """False: the other end has gone, or takes no more."""
        return lib.SSL_write(self.ssl, data, len(data)) == len(data)

    def get(self, n):
        """n bytes; fewer: the other end has gone, or says nothing."""
        got, room = b"", ctypes.create_string_buffer(n)
        while len(got) < n:
            k = lib.SSL_read(self.ssl, room, n - len(got))
            if k <= 0:
                break
            got += room.raw[:k]
        return got

    def close(self):
        lib.SSL_free(self.ssl)
        lib.SSL_CTX_free(self.ctx)
        self.sock.close()


def first_flight(psk, name):
    """The bytes of a ClientHello with a PSK, as somebody could have seen them pass."""
    a, b = socket.socketpair()
    a.setblocking(False)
    t = Tls(a, psk, name)
    t.connect()
    data = b.recv(65536)
    t.close()
    b.close()
    return data


def first_flight_without():
    """The same of somebody who has never heard of us."""
    out = ssl.MemoryBIO()
    ctx = ssl.create_default_context()
    try:
        ctx.wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


# ------------------------------------------------------------------- strangers

def connect(at, source=None):
    """A TCP connection, non-blocking; None: the queue is full."""
    s = socket.socket()
    s.setblocking(False)
    if source:
        s.bind((source, 0))
    err = s.connect_ex(at)
    if err in (0, errno.EISCONN):
        return s
    if err == errno.EINPROGRESS:
        ready = select.poll()
        ready.register(s, select.POLLOUT)
        if ready.poll(50) and not s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return s
    s.close()
    return None


class Strangers:
    """All that can be done without the key, "rate" connections a second from two
    addresses; up to "hold" of them stay and say nothing.  "key", "id": to make
    the ClientHello of a member, which is then repeated."""

    def __init__(self, a):
        self.at, self.rate = (a["ip"], a["port"]), a["rate"]
        self.held = collections.deque(maxlen=a["hold"])
        self.slow = []                  # (socket, bytes still to come)
        name = identity(PEER, 0x4242, a["role"], a["id"])
        self.hello = first_flight(derive(a["key"], name), name)
        self.kinds = dict(
            silent=None, silent_too=None, silent_as_well=None, gone_at_once=b"",
            garbage=random.randbytes(300), nearly=b"\x16\x03\x01\x40\x00" + random.randbytes(900),
            cut=self.hello[:90], no_key=first_flight_without(),
            wrong_key=first_flight(random.randbytes(32), name), replayed=self.hello)

    def one(self, kind, data, source):
        s = connect(self.at, source)
        if not s:
            done["queue_full"] += 1
            return
        done[kind] += 1
        with contextlib.suppress(OSError):
            if data:
                s.send(data)
        if kind in ("gone_at_once", "garbage", "no_key"):
            s.close()
            return
        if len(self.held) == self.held.maxlen:
            self.held[0].close()
        self.held.append(s)

    def drip(self):
        """A byte a second, on twenty connections."""
        while len(self.slow) < 20:
            s = connect(self.at)
            if not s:
                return
            self.slow.append((s, iter(self.hello)))
        for i, (s, rest) in reversed(list(enumerate(self.slow))):
            try:
                s.send(bytes([next(rest)]))
                done["slow_byte"] += 1
            except (OSError, StopIteration):
                done["slow_ended"] += 1
                self.slow.pop(i)[0].close()

    def run(self):
        turn = itertools.cycle(self.kinds.items())
        for n in range(self.held.maxlen // 2):
            self.one("silent", None, f"127.0.0.{200 + n % 2}")
        print("ready", flush=True)
        for n in pace(self.rate):
            if n % self.rate == 0:
                self.drip()
            kind, data = next(turn)
            self.one(kind, data, f"127.0.0.{200 + n % 2}")


# --------------------------------------------------------------------- members

def frame(body=b"", bulk=b"", number=1, kind=HELLO, lengths=None):
    n, m = lengths or (len(body), len(bulk))
    return struct.pack(">IIIHH", n, m, number, kind, 0) + body + bulk


def hello(role, guest):
    addr = b"127.0.0.222" if guest else b""
    return struct.pack(">IBQQI", 3, role, 0, 0, len(addr)) + addr + \
        struct.pack(">HBQQIBQI", 4242, 0, 0, 0, 0, guest, 0, 0)


class Members:
    """With the key: "rate" things a second.  "role", "id": of the victim; "source": an address to come from;
    "chunks": that it has; "dir": a large directory; "unread": how many requests are made of which no answer is
    read."""

    def __init__(self, a):
        self.a, self.at = a, (a["ip"], a["port"])
        self.number = itertools.count(1)
        self.idle = []

    def join(self, guest=False, to_role=None, patience=1):
        """A connection through the handshake, and a session where there are any."""
        s = socket.create_connection(self.at, 5, (self.a.get("source", ""), 0))
        s.settimeout(None)
        for opt in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            s.setsockopt(socket.SOL_SOCKET, opt, struct.pack("ll", int(patience), int(patience % 1 * 1e6)))
        role = PEER if guest or self.a["role"] == PEER else CLIENT
        name = identity(role, random.getrandbits(63), to_role or self.a["role"], self.a["id"])
        t = Tls(s, derive(self.a["key"], name), name)
        if not t.connect():
            done["not_let_in"] += 1
            t.close()
            return None
        if self.a["role"] == TRACKER and to_role is None:
            t.put(frame(hello(role, guest), kind=HELLO))
            self.answer(t)
        return t

    @staticmethod
    def answer(t):
        head = t.get(16)
        if len(head) < 16:
            return None
        n, m, _, kind, word = struct.unpack(">IIIHH", head)
        t.get(n + m)
        return kind, word

    def broken(self, what, data):
        """Ends the connection, and at once."""
        t = self.join(patience=5)
        if t:
            t.put(data)
            done[what] += 1
            sent = time.monotonic()
            while self.answer(t):
                pass
            done[what + "_cut_off"] += time.monotonic() - sent < 4.5
            t.close()

    def rubbish(self, t):
        """A request of any type, of any bytes; it is answered, or the connection ends."""
        kind = random.choice([HEARTBEAT, 4, *range(0x101, 0x10d), *range(0x201, 0x213), *range(0x301, 0x310),
                              *range(0x401, 0x409), *range(0x501, 0x506), *range(0x601, 0x606), 0x7777])
        body = random.randbytes(random.choice((0, 1, 7, 8, 40, 200)))
        done["rubbish"] += 1
        return t.put(frame(body, number=next(self.number), kind=kind))

    def ask_and_not_read(self):
        """Requests whose answers are large; none is read."""
        t = self.join(patience=0.05)
        if not t:
            return
        if self.a["role"] == TRACKER:
            kind, bodies = READDIR, [struct.pack(">QQI", self.a["dir"], 0, 4096)]
        else:
            kind, bodies = GET, [struct.pack(">Q", c) for c in self.a["chunks"]]
        for _, body in zip(range(self.a["unread"]), itertools.cycle(bodies)):
            if stopped or not t.put(frame(body, number=next(self.number), kind=kind)):
                break
            done["unread"] += 1
        self.idle.append(t)

    def run(self):
        self.ask_and_not_read()
        for _ in range(20):             # no hello, and half a header
            t = self.join(to_role=self.a["role"])
            if t:
                t.put(frame()[:7])
                self.idle.append(t)
        talk = self.join(guest=True, patience=0.01)
        print("ready", flush=True)
        for n in pace(self.a["rate"]):
            if n % 50 == 0:
                self.broken("oversized", frame(lengths=(BODY_MAX + 1, 0)))
            elif n % 50 == 10:
                self.broken("oversized_bulk", frame(lengths=(0xffffffff, 0xffffffff)))
            elif n % 50 == 20:
                self.broken("unasked", frame(kind=GET | ANSWER))
            elif n % 50 == 30:
                t = self.join()         # hangs up in the middle
                if t:
                    t.put(frame(b"x" * 50, lengths=(5000, 0)))
                    done["cut"] += 1
                    t.close()
            if not talk or not self.rubbish(talk):
                if talk:
                    talk.close()
                talk = self.join(guest=True, patience=0.01)
            elif n % 16 == 0:
                while select.select([talk.sock], [], [], 0)[0]:
                    if talk.get(1 << 16) == b"":
                        break


# ------------------------------------------------------------------- datagrams

def captured(ports, secs):
    """{direction: datagrams} that pass between two UDP ports of this machine."""
    seen = collections.defaultdict(list)
    s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
    s.bind(("lo", 0x0800))
    s.settimeout(0.2)
    end = time.monotonic() + secs
    while time.monotonic() < end and len(seen) < 2:
        try:
            p, where = s.recvfrom(4096)
        except socket.timeout:
            continue
        at = (p[0] & 15) * 4
        if p[9] == socket.IPPROTO_UDP and where[2] != socket.PACKET_OUTGOING:
            src, dst = struct.unpack(">HH", p[at:at + 4])
            if {src, dst} == set(ports):
                seen["to" if dst == ports[0] else "from"].append(p[at + 8:])
    s.close()
    return seen


class Datagrams:
    """"rate" a second to UDP port "port" of "ip", at which "other" speaks with it.
    Without the key: what the two say to one another is seen as it passes."""

    def __init__(self, a):
        self.a = a
        seen = captured((a["port"], a["other"]), 20)
        self.theirs, self.own = seen["to"][0], seen["from"][0]

    def kinds(self):
        session = self.theirs[:8]
        later = struct.pack(">Q", 1 << 40)
        flipped = bytearray(self.theirs)
        flipped[-1] ^= 1
        return [
            ("replayed", self.theirs),
            ("reflected", self.own),
            ("forged", session + later + self.theirs[16:]),
            ("forged", session + later + b"\0\2" + random.randbytes(60)),
            ("forged", session + later + self.own[16:]),
            ("wrong_session", struct.pack(">Q", random.getrandbits(64)) + self.theirs[8:]),
            ("garbage", random.randbytes(random.randrange(1, 1200))),
            ("empty", b""),
            ("oversized", random.randbytes(1300)),
            ("oversized", self.theirs + bytes(40000)),
        ]

    def run(self):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("127.0.0.200", 0))
        s.connect((self.a["ip"], self.a["port"]))
        s.setblocking(False)
        turn = itertools.cycle(self.kinds())
        print("ready", flush=True)
        for n in pace(self.a["rate"] / 50):
            for _ in range(50):
                kind, data = next(turn)
                try:
                    s.send(data)
                    done[kind] += 1
                except OSError:
                    done["not_sent"] += 1
            try:                        # nobody is to be answered
                while s.recv(2048) is not None:
                    done["answered"] += 1
            except OSError:
                pass


# ----------------------------------------------------------- the store's socket

class Local:
    """Connections to the unix socket "path", "rate" a second; rubbish on them."""

    def __init__(self, a):
        self.a = a
        self.held = collections.deque(maxlen=100)

    def run(self):
        print("ready", flush=True)
        for n in pace(self.a["rate"]):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            s.setblocking(False)
            try:
                s.connect(self.a["path"])
                s.send(random.randbytes(random.choice((1, 4, 100, 9000))))
                done["sent"] += 1
            except OSError as e:
                done[errno.errorcode[e.errno]] += 1
            if len(self.held) == 100:
                self.held[0].close()
            self.held.append(s)


def main():
    signal.signal(signal.SIGTERM, on_term)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.alarm(300)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 16384), most))
    os.nice(19)
    a = json.loads(sys.argv[2])
    {"strangers": Strangers, "members": Members, "datagrams": Datagrams, "local": Local}[sys.argv[1]](a).run()
    print(json.dumps(done), flush=True)


if __name__ == "__main__":
    main()
