#!/usr/bin/env python3
"""Fetches and verifies a file or folder from a DIG peer: a second implementation of the protocol.

Written from docs/protocol.md alone (the sections are named below); the values are in
dig_formats.py. It speaks TLS over TCP, asks one peer, checks each chunk by a proof up to the root,
and writes to PATH.part, which gets its name when everything is verified.

    python3 dig_get.py TICKET [-o PATH]
    python3 dig_get.py HASH|NAME --peer [NODEID@]IP:PORT [-o PATH]

Left out: QUIC, and the challenge-response of section 4 (Python's ssl module has no TLS exporter).
"""

import argparse
import bisect
import collections
import ipaddress
import os
import secrets
import shutil
import socket
import ssl
import struct
import sys
import tempfile
import time
import unicodedata

from cryptography.hazmat.primitives.asymmetric import ed25519

from dig_formats import (
    CHUNK, FALSE, GROUP, LOCAL, NO_CONNECTION, NOT_FOUND, REFUSAL, USAGE, Failure, Reader, check,
    chunks_of, component_is_safe, decode_table, file_hash, folder_hash, issue_certificate,
    may_be_dialled, own_networks, parse_ticket, root_by_path, root_of_entries, sha256,
    verify_certificate)

MAX_PAYLOAD = 66560
HELLO, PING, PONG, BYE, RESOLVE, RESOLVED, OPEN, INFO = 0, 2, 4, 6, 0x20, 0x22, 0x24, 0x26
MANIFEST_GET, GET, ENTRIES, DATA, HAVE, REFUSED, CANCEL, DONE = (
    0x28, 0x2C, 0x2E, 0x30, 0x32, 0x34, 0x36, 0x39)
BUSY, NOT_HERE_YET = 3, 7


# --- Section 3: lanes ----------------------------------------------------------------------------

class Lane:
    """A TLS connection to a peer whose identity is proven and who has said HELLO."""

    def __init__(self, address, expected, certificate):
        self.buffer, self.next_request = bytearray(), 0
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # verify_certificate does it
        context.set_alpn_protocols(["dig/1"])
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:  # the ssl module reads keys from files only
            file.write(b"".join(certificate))
            file.flush()
            context.load_cert_chain(file.name)
        try:
            plain = socket.create_connection(address, timeout=10)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket = context.wrap_socket(plain)
        except OSError as error:
            raise Failure(NO_CONNECTION, f"{address[0]} port {address[1]}: {error}") from error
        try:
            check(self.socket.selected_alpn_protocol() == "dig/1", "the peer speaks another protocol", NO_CONNECTION)
            self.node = verify_certificate(self.socket.getpeercert(binary_form=True))
            check(expected in (None, self.node), f"wrong identity: {self.node.hex()} answers", NO_CONNECTION)
            self.greet()
        except Failure as failure:
            self.socket.close()
            raise Failure(NO_CONNECTION, str(failure)) from failure

    def greet(self):
        features = secrets.randbits(64) & ~3  # neither demands authentication nor serves
        field = secrets.token_bytes(secrets.randbelow(17))
        self.send(HELLO, 0, struct.pack(">HH16sQHHHH", 1, 1, secrets.token_bytes(16), features, 4, 0,
                                        random_odd(), len(field)) + field)
        self.send(random_odd(), 0, secrets.token_bytes(secrets.randbelow(33)))
        kind, request, payload = self.receive_frame()
        check(kind == HELLO and request == 0, "the peer does not begin with HELLO")
        hello = Reader(payload, "HELLO")
        least, most, _, features, self.window, _ = struct.unpack(">HH16sQHH", hello.take(32))
        while hello.data:
            field, _ = hello.uint(2), hello.take(hello.uint(2))
            check(field % 2, "HELLO has an unknown required field")
        check(self.window >= 4, "HELLO allows too few requests")
        if not least <= 1 <= most:
            self.close(2)
            raise Failure(NO_CONNECTION, "no common version of the protocol")
        check(not features & 1, "the peer demands the challenge-response of section 4, which Python cannot answer")

    def send(self, kind, request, payload=b""):
        try:
            self.socket.sendall(struct.pack(">HII", kind, request, len(payload)) + payload)
        except OSError as error:
            raise Failure(NO_CONNECTION, f"the connection broke: {error}") from error

    def ask(self, kind, payload):
        self.next_request += 1
        self.send(kind, self.next_request, payload)
        return self.next_request

    def read(self, length):
        for_seconds = 0
        while len(self.buffer) < length:
            self.socket.settimeout(5)
            try:
                piece = self.socket.recv(1 << 17)
                check(piece, "the peer ended the connection", NO_CONNECTION)
                self.buffer += piece
                for_seconds = 0
            except TimeoutError:
                for_seconds += 5
                check(for_seconds < 20, "the peer has been silent for 20 seconds", NO_CONNECTION)
                self.send(PING, 0, secrets.token_bytes(8))
            except OSError as error:
                raise Failure(NO_CONNECTION, f"the connection broke: {error}") from error
        head = bytes(self.buffer[:length])
        del self.buffer[:length]
        return head

    def receive_frame(self):
        kind, request, length = struct.unpack(">HII", self.read(10))
        check(length <= MAX_PAYLOAD, "a frame that is too long")
        return kind, request, self.read(length)

    def receive(self):
        """The next frame that is not the lane's own business."""
        while True:
            kind, request, payload = self.receive_frame()
            if kind == PING:
                check(len(payload) == 8, "a malformed PING")
                self.send(PONG, request, payload)
            elif kind == BYE:
                reader = Reader(payload, "BYE")
                raise Failure(REFUSAL, f"the peer says goodbye, code {reader.uint(2)}: {ascii(reader.data.decode(errors='replace'))}")
            elif kind in (RESOLVE, OPEN, MANIFEST_GET, GET):  # we serve nothing
                self.send(REFUSED, request, struct.pack(">HI", 1, 0))
            elif kind in (RESOLVED, INFO, ENTRIES, DATA, HAVE, REFUSED):
                return kind, request, payload
            elif kind % 2 == 0 and kind not in (PONG, CANCEL):
                self.close(1)
                raise Failure(FALSE, f"an unknown required frame {kind:#06x}")

    def answer(self, request, expected):
        """The answer to the only request under way."""
        kind, to, payload = self.receive()
        check(to == request, "an answer that nobody asked for")
        if kind == REFUSED:
            raise Failure(NOT_FOUND if payload[:2] in (b"\0\1", b"\0\2") else REFUSAL, refusal(payload))
        check(kind == expected, "an answer of the wrong type")
        return Reader(payload, "the answer")

    def close(self, code=0):
        try:
            self.send(BYE, 0, struct.pack(">H", code))
        except Failure:
            pass  # it is gone already
        self.socket.close()


def random_odd():
    return 0xF001 + 2 * secrets.randbelow(0x800)


def refusal(payload):
    reader = Reader(payload, "REFUSED")
    code, _ = reader.uint(2), reader.uint(4)
    return f"the peer refuses, code {code}: {ascii(reader.data.decode(errors='replace'))}"


# --- Section 7: names ----------------------------------------------------------------------------

def resolve(lane, what):
    """(content hash, name) of a name, as this peer claims."""
    query = b"\3" + unicodedata.normalize("NFC", what).encode()
    reader = lane.answer(lane.ask(RESOLVE, query), RESOLVED)
    check(reader.uint(1) == 0, "the peer does not know it yet", NOT_FOUND)
    claims = {}
    for _ in range(reader.uint(1)):
        content = reader.take(32)
        reader.take(9)
        claims[content] = reader.take(reader.uint(2)).decode(errors="replace")
    reader.end()
    check(len(claims) == 1, "several contents answer: " + ", ".join(map(bytes.hex, claims)), NOT_FOUND)
    return next(iter(claims.items()))


# --- Section 6: transfer -------------------------------------------------------------------------

Segment = collections.namedtuple("Segment", "first size path")  # a file, or the table (path None)


class Content:
    """One content of one peer: what it is, and its chunks as they are asked for."""

    def __init__(self, lane, content):
        self.lane, self.hash = lane, content
        self.open = lane.ask(OPEN, content)
        info = lane.answer(self.open, INFO)
        self.folder, self.size, self.table = info.uint(1), info.uint(8), info.uint(8)
        self.chunks, self.root, complete = info.uint(8), info.take(32), info.uint(1)
        self.name = info.take(info.uint(2)).decode(errors="replace")
        info.end()
        check(self.folder in (0, 1) and complete in (0, 1), "an unknown kind of content")
        own = folder_hash(self.size, self.table, self.root) if self.folder else file_hash(self.size, self.root)
        check(own == content, "the peer describes another content than the one asked for")
        if self.folder:
            check(0 < self.table <= 64 << 20 and chunks_of(self.table) <= self.chunks <= 2**47, "a folder without table")
        else:
            check(self.table == 0 and self.chunks == chunks_of(self.size), "a false number of chunks")
        self.held = None if complete else set()
        self.entries = {}  # group -> its proven entries

    def may_ask(self, run):
        return self.held is None or run[0] // GROUP in self.held

    def fetch(self, first, end, segments, write):
        """Gets chunks first..end and calls write(segment, offset, bytes) with each verified one."""
        starts = [segment.first for segment in segments]
        edges = sorted({first, end, *range(-(-first // GROUP) * GROUP, end, GROUP)})
        queue = collections.deque(zip(edges, edges[1:]))
        asked, deadline = {}, time.monotonic() + 60
        limit = min(self.lane.window - 1, 16)  # one is the OPEN
        while queue or asked:
            while len(asked) < limit and (run := next(filter(self.may_ask, queue), None)):
                queue.remove(run)
                question = self.hash + struct.pack(">QBB", run[0], run[1] - run[0], 2)
                asked[self.lane.ask(GET, question)] = [run, None, run[0]]
            kind, request, payload = self.lane.receive()
            if request == self.open:
                self.news(kind, payload)
                check(asked or time.monotonic() < deadline, "the peer has only a part", NOT_FOUND)
                continue
            check(request in asked, "an answer that nobody asked for")
            state = asked[request]
            run, entries, chunk = state
            if kind == REFUSED:
                del asked[request]
                self.refused(run, payload)
                queue.append((chunk, run[1]))
            elif kind == ENTRIES:
                check(entries is None, "entries twice")
                state[1] = self.proven(run[0] // GROUP, payload)
            else:
                check(kind == DATA and entries is not None, "data without entries")
                segment = segments[bisect.bisect_right(starts, chunk) - 1]
                offset = (chunk - segment.first) * CHUNK
                check(len(payload) == min(CHUNK, segment.size - offset), f"chunk {chunk} has a false length")
                check(sha256(payload) == entries[chunk % GROUP], f"chunk {chunk} is false")
                write(segment, offset, payload)
                state[2] += 1
                deadline = time.monotonic() + 60
                if state[2] == run[1]:
                    del asked[request]

    def news(self, kind, payload):
        if kind == REFUSED:
            raise Failure(NOT_FOUND, "withdrawn: " + refusal(payload))
        check(kind == HAVE, "an answer of the wrong type")
        reader = Reader(payload, "HAVE")
        first, bitmap = reader.uint(4), reader.data
        check(1 <= len(bitmap) <= 8192, "a malformed HAVE")
        if self.held is not None:
            self.held |= {first + bit for bit in range(len(bitmap) * 8) if bitmap[bit // 8] >> (7 - bit % 8) & 1}

    def refused(self, run, payload):
        reader = Reader(payload, "REFUSED")
        code, retry = reader.uint(2), reader.uint(4)
        if code == BUSY and retry:
            time.sleep(min(retry, 10_000) / 1000)
        elif code == NOT_HERE_YET and self.held is not None:
            self.held.discard(run[0] // GROUP)
        else:
            raise Failure(NOT_FOUND if code in (1, 2) else REFUSAL, refusal(payload))

    def proven(self, group, payload):
        """The entries of a group, after their path has led to the root."""
        reader = Reader(payload, "ENTRIES")
        entries = [reader.take(32) for _ in range(reader.uint(1))]
        path = [reader.take(32) for _ in range(reader.uint(1))]
        reader.end()
        check(len(entries) == min(GROUP, self.chunks - group * GROUP), f"group {group} has a false number of entries")
        top = root_by_path(root_of_entries(entries), group, -(-self.chunks // GROUP), path)
        check(top == self.root, f"the entries of group {group} do not belong to the content")
        self.entries[group] = entries
        return entries

    def all_entries(self, first, end):
        return [self.entries[chunk // GROUP][chunk % GROUP] for chunk in range(first, end)]


def read_table(content):
    """The records of a folder and where each file's chunks stand."""
    table, data = Segment(0, content.table, None), bytearray(content.table)

    def write(_, offset, piece):
        data[offset:offset + len(piece)] = piece

    content.fetch(0, chunks_of(content.table), [table], write)
    records = decode_table(bytes(data))
    segments, chunk = [table], chunks_of(content.table)
    for record in records:
        if record.size:
            segments.append(Segment(chunk, record.size, record.path))
            chunk += chunks_of(record.size)
    check(chunk == content.chunks, "the table does not fit the number of chunks")
    check(sum(record.size for record in records) == content.size, "the table does not fit the size")
    return records, segments


def save(content, target):
    """Writes the content to `target`.part and renames it; true only when every byte is verified."""
    part = target + ".part"
    for path in (target, part):
        check(not os.path.lexists(path), f"{path} exists; choose another with -o, or remove it", LOCAL)
    try:
        fetch_folder(content, part) if content.folder else fetch_file(content, part)
        check(not os.path.lexists(target), f"{target} has appeared meanwhile", LOCAL)
        os.rename(part, target)
    except BaseException as error:
        shutil.rmtree(part) if os.path.isdir(part) else os.path.exists(part) and os.remove(part)
        if isinstance(error, OSError):
            raise Failure(LOCAL, f"{error.filename}: {error.strerror}") from error
        raise


def fetch_file(content, part):
    with open(part, "xb") as file:
        def write(_, offset, piece):
            file.seek(offset)
            file.write(piece)

        content.fetch(0, content.chunks, [Segment(0, content.size, None)], write)
    check(root_of_entries(content.all_entries(0, content.chunks)) == content.root, "the chunks do not make the root")


def fetch_folder(content, part):
    records, segments = read_table(content)
    print(f"{len(records)} entries, {content.size} bytes", file=sys.stderr)
    os.mkdir(part)
    for record in records:
        path = os.path.join(part, record.path)
        os.makedirs(path if record.directory else os.path.dirname(path), exist_ok=True)
        if not record.directory:
            open(path, "xb").close()

    def write(segment, offset, piece):
        if segment.path is not None:
            with open(os.path.join(part, segment.path), "r+b") as file:
                file.seek(offset)
                file.write(piece)

    content.fetch(chunks_of(content.table), content.chunks, segments, write)
    places = {segment.path: segment for segment in segments}
    for record in records:
        if not record.directory:
            first = places[record.path].first if record.size else 0
            entries = content.all_entries(first, first + chunks_of(record.size))
            own = file_hash(record.size, root_of_entries(entries))
            check(own == record.hash, f"the table has a false hash for {ascii(record.path)}")
        if record.executable:
            os.chmod(os.path.join(part, record.path), 0o777 & ~current_umask())


def current_umask():
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


# --- The program ---------------------------------------------------------------------------------

def parse_peer(text):
    node_id, _, address = text.rpartition("@")
    ip, _, port = address.rpartition(":")
    try:
        ip = str(ipaddress.ip_address(ip.strip("[]")))
        check(not node_id or len(bytes.fromhex(node_id)) == 32, "a NodeId has 64 digits", USAGE)
        return (bytes.fromhex(node_id) or None), (ip, int(port))
    except ValueError as error:
        raise Failure(USAGE, f"expected [NODEID@]IP:PORT, not {text!r}") from error


def connect(candidates, certificate):
    """A lane to the first candidate that answers and is who it must be."""
    failures = []
    for expected, address in candidates:
        try:
            return Lane(address, expected, certificate)
        except Failure as failure:
            failures.append(str(failure))
    raise Failure(NO_CONNECTION, "; ".join(failures) or "no address to connect to; give one with --peer")


def get(what, peers=(), output=None, certificate=None):
    """Fetches `what` and returns the path under which it stands."""
    candidates, content, name = [parse_peer(peer) for peer in peers], None, None
    if what.startswith("dig1"):
        ticket = parse_ticket(what)
        content, name, networks = ticket.hash, ticket.name, own_networks()
        candidates += [(node_id, address) for node_id, addresses in ticket.nodes for address in addresses
                       if may_be_dialled(address[0], networks)]
    elif len(what) == 64 and all(char in "0123456789abcdefABCDEF" for char in what):
        content = bytes.fromhex(what)
    certificate = certificate or issue_certificate(ed25519.Ed25519PrivateKey.generate())
    lane = connect(candidates, certificate)
    try:
        if content is None:
            content, name = resolve(lane, what)
        found = Content(lane, content)
        name = next((hint for hint in (name, found.name) if hint and component_is_safe(hint)), content.hex()[:16])
        target = os.path.join(output, name) if output and os.path.isdir(output) else output or name
        save(found, target)
        lane.send(DONE, 0, content)
        return target
    finally:
        lane.close()


def main():
    parser = argparse.ArgumentParser(description="Fetch and verify content from a DIG peer.")
    parser.add_argument("what", help="ticket, content hash or name")
    parser.add_argument("--peer", action="append", default=[], metavar="[NODEID@]IP:PORT")
    parser.add_argument("-o", "--output", metavar="PATH", help="file name, or a folder that exists")
    arguments = parser.parse_args()
    try:
        print(get(arguments.what, arguments.peer, arguments.output))
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        sys.exit(failure.code)


if __name__ == "__main__":
    main()
