"""A second, independent codec, over the same vectors as unit_msg.c.

The schema below was written by hand from the protocol's specification, not
derived from msg.def, so that a field that moves by accident is seen here.
A line of vectors/msg.txt is: NAME HEX-OF-THE-BODY JSON-OF-THE-FIELDS.

    python3 tests/test_vectors.py --print    encodes the JSON of each line anew
"""
import json
import pathlib
import struct
import sys

VECTORS = pathlib.Path(__file__).parent / "vectors" / "msg.txt"

INTEGERS = {"u8": ">B", "u16": ">H", "u32": ">I", "u64": ">Q", "i64": ">q"}

# A field's type: an integer, "md5" (hexadecimal in JSON), "str" (latin-1),
# the name of a record, or [one of these], a list.
RECORDS = {
    "attr": [
        ("ino", "u64"), ("mode", "u32"), ("nlink", "u32"), ("uid", "u32"),
        ("gid", "u32"), ("rdev", "u32"), ("slot_size", "u32"),
        ("size", "u64"), ("stored", "u64"), ("version", "u64"),
        ("atime_s", "i64"), ("atime_ns", "u32"), ("mtime_s", "i64"),
        ("mtime_ns", "u32"), ("ctime_s", "i64"), ("ctime_ns", "u32"),
        ("has_xattrs", "u8"),
    ],
    "entry": [("cookie", "u64"), ("name", "str"), ("attr", "attr")],
    "slice": [("pos", "u32"), ("len", "u32"), ("chunk", "u64"),
              ("off", "u32")],
    "slot": [("index", "u64"), ("version", "u64"), ("slices", ["slice"])],
    "chunk": [("id", "u64"), ("len", "u32"), ("md5", "md5"),
              ("holders", ["u32"])],
    "push": [
        ("append", "u8"), ("slot", "u64"), ("pos", "u32"), ("len", "u32"),
        ("chunk", "u64"), ("off", "u32"), ("chunk_len", "u32"),
        ("md5", "md5"), ("stored", ["u32"]), ("copies", "u8"),
    ],
    "counter": [("which", "u16"), ("value", "u64")],
    "peer": [
        ("num", "u32"), ("id", "u64"), ("addr", "str"), ("port", "u16"),
        ("state", "u8"), ("mounted", "u8"), ("capacity", "u64"),
        ("used", "u64"), ("chunks", "u64"), ("silent_ms", "u32"),
        ("counters", ["counter"]), ("reach", "u8"), ("guest", "u8"),
    ],
    "placed": [("id", "u64"), ("targets", ["u32"])],
    "held": [("id", "u64"), ("kind", "u8")],
    "byte_lock": [
        ("ino", "u64"), ("space", "u8"), ("kind", "u8"), ("owner", "u64"),
        ("pid", "u32"), ("start", "u64"), ("end", "u64"), ("alone", "u8"),
    ],
    "access": [("ino", "u64"), ("atime_s", "i64"), ("atime_ns", "u32")],
    "part": [
        ("num", "u32"), ("chunks", "u64"), ("done", "u64"), ("bytes", "u64"),
        ("failed", "u64"), ("ended", "u8"),
    ],
}

MESSAGES = {
    "error": [("text", "str")],
    "hello": [
        ("protocol", "u32"), ("role", "u8"), ("swarm", "u64"),
        ("session", "u64"), ("addr", "str"), ("port", "u16"),
        ("mounted", "u8"), ("capacity", "u64"), ("used", "u64"),
        ("open", ["u64"]), ("guest", "u8"), ("epoch", "u64"),
        ("locks", ["byte_lock"]),
    ],
    "hello_r": [
        ("protocol", "u32"), ("swarm", "u64"), ("session", "u64"),
        ("epoch", "u64"), ("resumed", "u8"), ("num", "u32"),
        ("copies", "u8"), ("slot_size", "u32"), ("lease_ms", "u32"),
        ("heartbeat_ms", "u32"), ("lost", ["u64"]),
    ],
    "heartbeat": [
        ("session", "u64"), ("epoch", "u64"), ("beat", "u64"),
        ("capacity", "u64"), ("used", "u64"), ("chunks", "u64"),
    ],
    "lookup": [("parent", "u64"), ("name", "str")],
    "lookup_r": [("attr", "attr")],
    "readdir_r": [("parent", "u64"), ("eof", "u8"), ("entries", ["entry"])],
    "getmap_r": [("attr", "attr"), ("slots", ["slot"]),
                 ("chunks", ["chunk"])],
    "setattr": [
        ("seq", "u64"), ("ack", "u64"), ("ino", "u64"), ("set", "u32"),
        ("mode", "u32"), ("uid", "u32"), ("gid", "u32"), ("size", "u64"),
        ("atime_s", "i64"), ("atime_ns", "u32"), ("mtime_s", "i64"),
        ("mtime_ns", "u32"),
    ],
    "rename": [
        ("seq", "u64"), ("ack", "u64"), ("parent", "u64"), ("name", "str"),
        ("newparent", "u64"), ("newname", "str"), ("flags", "u32"),
    ],
    "commit": [
        ("seq", "u64"), ("ack", "u64"), ("ino", "u64"), ("sync", "u8"),
        ("mtime_s", "i64"), ("mtime_ns", "u32"), ("clear_suid", "u8"),
        ("pushes", ["push"]), ("only", "u64"),
    ],
    "lock": [("op", "u8"), ("ticket", "u64"), ("lock", "byte_lock")],
    "lock_r": [("state", "u8"), ("lock", "byte_lock")],
    "locked": [("ticket", "u64"), ("state", "u8"), ("lock", "byte_lock")],
    "seekmap": [("ino", "u64"), ("off", "u64"), ("hole", "u8")],
    "seekmap_r": [("state", "u8"), ("off", "u64"), ("attr", "attr")],
    "allocate": [
        ("seq", "u64"), ("ack", "u64"), ("ino", "u64"), ("off", "u64"),
        ("len", "u64"), ("mode", "u32"), ("clear_suid", "u8"),
    ],
    "allocate_r": [("attr", "attr"), ("done", "u64")],
    "clone": [
        ("seq", "u64"), ("ack", "u64"), ("ino", "u64"), ("off", "u64"),
        ("from", "u64"), ("from_off", "u64"), ("len", "u64"),
        ("clear_suid", "u8"),
    ],
    "clone_r": [
        ("attr", "attr"), ("done", "u64"), ("more", "u8"), ("deep", ["u64"]),
    ],
    "grant_r": [("chunks", ["placed"])],
    "have": [("added", ["held"]), ("gone", ["u64"])],
    "peers": [("peers", ["peer"])],
    "put": [
        ("chunk", "u64"), ("ino", "u64"), ("slot", "u64"), ("pos", "u32"),
        ("len", "u32"), ("md5", "md5"), ("sync", "u8"), ("kind", "u8"),
    ],
    "get_r": [
        ("chunk", "u64"), ("ino", "u64"), ("slot", "u64"), ("pos", "u32"),
        ("len", "u32"), ("md5", "md5"), ("busy", ["u32"]),
    ],
    "mknod": [
        ("seq", "u64"), ("ack", "u64"), ("parent", "u64"), ("name", "str"),
        ("mode", "u32"), ("uid", "u32"), ("gid", "u32"), ("rdev", "u32"),
        ("excl", "u8"), ("target", "str"), ("slot_size", "u32"),
        ("umask", "u32"), ("tmpfile", "u8"),
    ],
    "accessed": [("inos", ["access"])],
    "revoke": [("inos", ["u64"]), ("also", "u8")],
    "digest_r": [("version", "u64"), ("known", "u8"), ("md5", "md5")],
    "progress": [("job", "u64"), ("part", "part")],
    "complete": [("job", "u64"), ("ino", "u64"), ("via", "u8")],
    "want": [("ids", ["u64"])],
    "seek": [("try", "u32"), ("directed", "u8"), ("ids", ["u64"])],
    "seek_r": [("here", ["u64"]), ("absent", ["u64"])],
    "found": [
        ("chunk", "u64"), ("ino", "u64"), ("slot", "u64"), ("pos", "u32"),
        ("len", "u32"), ("md5", "md5"),
    ],
    "share": [
        ("name", "str"), ("first", "u64"), ("end", "u64"), ("part", "u8"),
        ("slot_size", "u32"), ("copies", "u8"), ("mode", "u32"),
        ("uid", "u32"), ("gid", "u32"),
    ],
}


def encode_fields(schema, values):
    assert [name for name, _ in schema] == list(values)
    return b"".join(encode(kind, values[name]) for name, kind in schema)


def encode(kind, value):
    if isinstance(kind, list):
        return struct.pack(">I", len(value)) + b"".join(
            encode(kind[0], v) for v in value)
    if kind in INTEGERS:
        return struct.pack(INTEGERS[kind], value)
    if kind == "md5":
        assert len(value) == 32
        return bytes.fromhex(value)
    if kind == "str":
        raw = value.encode("latin-1")
        return struct.pack(">I", len(raw)) + raw
    body = encode_fields(RECORDS[kind], value)
    return struct.pack(">H", len(body)) + body


class Reader:
    def __init__(self, raw):
        self.raw = raw

    def take(self, n):
        if n > len(self.raw):
            raise ValueError("truncated")
        head, self.raw = self.raw[:n], self.raw[n:]
        return head

    def integer(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def fields(self, schema):
        return {name: self.value(kind) for name, kind in schema}

    def value(self, kind):
        if isinstance(kind, list):
            return [self.value(kind[0]) for _ in range(self.integer(">I"))]
        if kind in INTEGERS:
            return self.integer(INTEGERS[kind])
        if kind == "md5":
            return self.take(16).hex()
        if kind == "str":
            return self.take(self.integer(">I")).decode("latin-1")
        record = Reader(self.take(self.integer(">H")))
        return record.fields(RECORDS[kind])


def vectors():
    for line in VECTORS.read_text().splitlines():
        if line and not line.startswith("#"):
            name, body, values = line.split(" ", 2)
            yield name, body, json.loads(values)


def test_encoding_gives_the_bytes():
    for name, body, values in vectors():
        assert encode_fields(MESSAGES[name], values).hex() == body, name


def test_decoding_gives_the_values():
    for name, body, values in vectors():
        reader = Reader(bytes.fromhex(body))
        assert reader.fields(MESSAGES[name]) == values, name
        assert reader.raw == b"", name


def test_unknown_fields_are_skipped():
    for name, body, values in vectors():
        reader = Reader(bytes.fromhex(body) + b"more")
        assert reader.fields(MESSAGES[name]) == values, name


def test_truncations_are_refused():
    for name, body, _ in vectors():
        raw = bytes.fromhex(body)
        for n in range(len(raw)):
            try:
                Reader(raw[:n]).fields(MESSAGES[name])
            except ValueError:
                continue
            raise AssertionError(f"{name} accepted with {n} bytes")


def test_every_message_of_the_schema_has_a_vector():
    assert {name for name, _, _ in vectors()} == set(MESSAGES)


if __name__ == "__main__" and sys.argv[1:] == ["--print"]:
    for vector, _, fields in vectors():
        print(vector, encode_fields(MESSAGES[vector], fields).hex(),
              json.dumps(fields))
