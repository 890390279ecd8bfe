"""A small host for the self-test of dig_get.py: it serves one content from memory, honestly or not.

Trees and proofs are computed here by the recursive definitions of RFC 9162, not by the code under
test. `faults` names what it does wrong.
"""

import os
import socket
import ssl
import struct
import tempfile
import threading

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dig_formats import issue_certificate, sha256

CHUNK, GROUP = 65536, 16


def mth(leaves):
    """Merkle Tree Hash of hashed leaves."""
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256(b"")
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\1", mth(leaves[:split]), mth(leaves[split:]))


def proof(index, leaves):
    """Inclusion path of a leaf."""
    if len(leaves) < 2:
        return []
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if index < split:
        return proof(index, leaves[:split]) + [mth(leaves[split:])]
    return proof(index - split, leaves[split:]) + [mth(leaves[:split])]


def cut(data):
    return [data[place:place + CHUNK] for place in range(0, len(data), CHUNK)]


def leaves_of(chunks):
    return [sha256(b"\0", sha256(chunk)) for chunk in chunks]


def hash_of_file(data):
    return sha256(b"dig-file/1", struct.pack(">Q", len(data)), mth(leaves_of(cut(data))))


def table_of(files):
    """A folder's table from {path: bytes, or None for an empty directory}; `*` marks executables."""
    out = b"digdir1\n" + struct.pack(">I", len(files))
    for path, data in sorted(files.items(), key=lambda item: item[0].rstrip("*").encode()):
        flags = 2 if data is None else int(path.endswith("*"))
        digest = bytes(32) if data is None else hash_of_file(data)
        raw = path.rstrip("*").encode()
        out += struct.pack(">BQ", flags, len(data or b"")) + digest + struct.pack(">H", len(raw)) + raw
    return out


class FakeHost:
    """Serves a file (bytes) or a folder ({path: bytes}) to clients with this certificate."""

    def __init__(self, content, client_certificate, name="thing", faults=(), lifetime=3600, table=None):
        self.faults, self.name = set(faults), name
        if isinstance(content, dict):
            table = table or table_of(content)
            ordered = sorted(content.items(), key=lambda item: item[0].rstrip("*").encode())
            self.chunks = cut(table) + [chunk for _, data in ordered for chunk in cut(data or b"")]
            self.kind, self.table, self.size = 1, len(table), sum(len(data or b"") for data in content.values())
        else:
            self.kind, self.table, self.size, self.chunks = 0, 0, len(content), cut(content)
        self.root = mth(leaves_of(self.chunks))
        head = (b"dig-folder/1" + struct.pack(">QQ", self.size, self.table) if self.kind
                else b"dig-file/1" + struct.pack(">Q", self.size))
        self.hash = sha256(head, self.root)
        self.groups = [mth(leaves_of(self.chunks[place:place + GROUP])) for place in range(0, len(self.chunks), GROUP)]
        identity = ed25519.Ed25519PrivateKey.generate()
        self.node = sha256(identity.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.num_tickets = 0
        self.context.set_alpn_protocols(["other/1" if "alpn" in self.faults else "dig/1"])
        self.context.load_verify_locations(cadata=client_certificate[0].decode())
        self.context.verify_mode = ssl.CERT_REQUIRED
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"".join(issue_certificate(identity, lifetime)))
            file.flush()
            self.context.load_cert_chain(file.name)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.done, self.errors = [], []
        threading.Thread(target=self.accept, daemon=True).start()

    def peer(self):
        return f"{self.node.hex()}@127.0.0.1:{self.port}"

    def accept(self):
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            try:
                with self.context.wrap_socket(plain, server_side=True) as lane, lane.makefile("rb") as stream:
                    self.serve(lane, stream)
            except (OSError, EOFError) as error:
                self.errors.append(error)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def serve(self, lane, stream):
        def send(kind, request, payload=b""):
            lane.sendall(struct.pack(">HII", kind, request, len(payload)) + payload)

        version = 2 if "version" in self.faults else 1
        field = struct.pack(">HH", 4 if "field" in self.faults else 0xF00F, 3) + b"abc"
        send(0, 0, struct.pack(">HH16sQHH", version, version, os.urandom(16), 2 | (1 << 40), 4, 9) + field)
        send(0xF001, 0, b"ignore me")
        send(2, 0, b"12345678")
        first = True
        while header := stream.read(10):
            kind, request, length = struct.unpack(">HII", header)
            payload = stream.read(length)
            if first != (kind == 0):
                raise EOFError(f"frame {kind:#x} is out of place")
            first = False
            if kind == 6:
                return
            if kind == 0x39:
                self.done.append(payload)
            elif kind % 2 == 0 and kind not in (0, 2, 4):
                self.answer(send, kind, request, payload)

    def answer(self, send, kind, request, payload):
        if kind == 0x20 and payload == b"\3" + self.name.encode():
            raw = self.name.encode()
            send(0x22, request, b"\0\1" + self.hash + struct.pack(">BQH", self.kind, self.size, len(raw)) + raw)
        elif kind == 0x24 and payload == self.hash:
            raw = self.name.encode()
            count = len(self.chunks) + ("count" in self.faults)
            send(0x26, request, struct.pack(">BQQQ", self.kind, self.size + ("size" in self.faults), self.table, count)
                 + self.root + bytes(["partial" not in self.faults]) + struct.pack(">H", len(raw)) + raw)
            if "partial" in self.faults:  # half of it at once, the rest after the first request
                half = len(self.groups) // 2
                self.rest = (request, half)
                send(0x32, request, struct.pack(">I", 0) + bits(range(half + (half == 0))))
        elif kind == 0x2C and payload[:32] == self.hash:
            self.answer_get(send, request, *struct.unpack(">QBB", payload[32:]))
        else:
            send(0x34, request, struct.pack(">HI", 1, 0) + b"no such thing")

    def answer_get(self, send, request, first, count, want):
        group = first // GROUP
        end = min(first + count, len(self.chunks))
        if "busy" in self.faults:
            self.faults.discard("busy")
            return send(0x34, request, struct.pack(">HI", 3, 10) + b"busy")
        if "partial" in self.faults and self.rest:
            opened, half = self.rest
            self.rest = None
            send(0x32, opened, struct.pack(">I", half) + bits(range(len(self.groups) - half)))
        entries = [sha256(chunk) for chunk in self.chunks[group * GROUP:(group + 1) * GROUP]]
        path = proof(group, self.groups)
        if "path" in self.faults:
            path = path + [bytes(32)]
        if "entry" in self.faults:
            entries[0] = bytes(32)
        if want != 2 or not 1 <= count <= GROUP or (first + count - 1) // GROUP != group:
            return send(0x34, request, struct.pack(">HI", 5, 0) + b"malformed")
        send(0x2E, request, bytes([len(entries)]) + b"".join(entries) + bytes([len(path)]) + b"".join(path))
        for chunk in range(first, end):
            if "middle" in self.faults and chunk > first:
                self.faults.discard("middle")
                return send(0x34, request, struct.pack(">HI", 3, 5) + b"busy")
            data = self.chunks[chunk]
            if "data" in self.faults and chunk == len(self.chunks) - 1:
                data = bytes([data[0] ^ 1]) + data[1:]
            if "length" in self.faults:
                data = data[:-1]
            send(0x30, request + 1000 * ("unasked" in self.faults), data)


def bits(places):
    bitmap = bytearray(max(places) // 8 + 1)
    for place in places:
        bitmap[place // 8] |= 0x80 >> place % 8
    return bytes(bitmap)
