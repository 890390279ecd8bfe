"""The values of the DIG protocol: identities, certificates, trees, folder tables and tickets.

Written from docs/protocol.md alone (the sections are named below), with the standard library and
the package `cryptography`. Nothing here does I/O but own_networks().
"""

import base64
import collections
import hashlib
import ipaddress
import socket
import ssl
import struct
import time
import unicodedata

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import (
    Encoding, NoEncryption, PrivateFormat, PublicFormat, load_der_public_key)

CHUNK, GROUP = 65536, 16

# Exit codes of dignet that this client uses too.
USAGE, NOT_FOUND, NO_CONNECTION, FALSE, LOCAL, REFUSAL = 2, 3, 4, 5, 6, 7


class Failure(Exception):
    """What went wrong, in words, and the exit code for it."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def check(holds, text, code=FALSE):
    if not holds:
        raise Failure(code, text)


class Reader:
    """Takes fields off the front of bytes; running short is a failure, never a crash."""

    def __init__(self, data, what, code=FALSE):
        self.data, self.what, self.code = data, what, code

    def take(self, length):
        check(length <= len(self.data), f"{self.what} is cut off", self.code)
        head, self.data = self.data[:length], self.data[length:]
        return head

    def uint(self, length):
        return int.from_bytes(self.take(length), "big")

    def end(self):
        check(not self.data, f"{self.what} has bytes too many", self.code)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


# --- Section 1: identities -----------------------------------------------------------------------

# The y coordinates of ed25519 points of small order, also in forms that are not canonical.
SMALL_ORDER = {0, 1, 2**255 - 20, 2**255 - 19, 2**255 - 18,
               int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"),
               int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little")}
HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


def small_order(point):
    return int.from_bytes(point, "little") & (2**255 - 1) in SMALL_ORDER


def check_key(algorithm, key):
    """The public key in these canonical bytes."""
    try:
        if algorithm == 1:
            check(len(key) == 32 and not small_order(key), "a weak ed25519 key")
            check(int.from_bytes(key, "little") & (2**255 - 1) < 2**255 - 19, "an ed25519 key in another form")
            return ed25519.Ed25519PublicKey.from_public_bytes(key)
        if algorithm == 2:
            check(len(key) == 33, "a secp256k1 key of the wrong length")
            return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), key)
        check(algorithm == 3, f"unknown key algorithm {algorithm}")
        public = load_der_public_key(key)
        check(isinstance(public, rsa.RSAPublicKey) and 2048 <= public.key_size <= 4096, "no RSA key of 2048 to 4096 bits")
        check(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == key, "an RSA key in another form")
        return public
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Failure(FALSE, f"a malformed key ({error})") from error


def verify_signature(algorithm, key, message, signature):
    """Raises unless `signature` is one of `message` by the canonical public key `key`."""
    public = check_key(algorithm, key)
    try:
        if algorithm == 1:
            check(len(signature) == 64 and not small_order(signature[:32]), "a weak ed25519 signature")
            public.verify(signature, message)
        elif algorithm == 2:
            check(len(signature) == 64, "a secp256k1 signature of the wrong length")
            r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
            check(s <= HALF_ORDER, "a secp256k1 signature with s in the upper half")
            public.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
        else:
            check(len(signature) == (public.key_size + 7) // 8, "an RSA signature of the wrong length")
            public.verify(signature, message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    except InvalidSignature as error:
        raise Failure(FALSE, "a false signature") from error


# --- Section 2: certificates ---------------------------------------------------------------------

ED25519 = bytes.fromhex("300506032b6570")  # AlgorithmIdentifier of RFC 8410


def der(tag, *parts):
    body = b"".join(parts)
    width = (len(body).bit_length() + 7) // 8
    length = bytes([len(body)]) if len(body) < 128 else bytes([0x80 | width]) + len(body).to_bytes(width, "big")
    return bytes([tag]) + length + body


def der_items(data):
    """[(tag, contents, whole)] of the elements that stand one behind the other."""
    reader, items = Reader(data, "the certificate"), []
    while rest := reader.data:
        tag, length = reader.uint(1), reader.uint(1)
        if length & 0x80:
            length = reader.uint(length & 0x7F)
        contents = reader.take(length)
        items.append((tag, contents, rest[:len(rest) - len(reader.data)]))
    return items


def oid_of(*arcs):
    out = b""
    for arc in (arcs[0] * 40 + arcs[1], *arcs[2:]):
        digits = [arc >> 7 * place & 0x7F for place in range((arc.bit_length() + 6) // 7 or 1)]
        out += bytes([digit | 0x80 for digit in digits[:0:-1]] + digits[:1])
    return der(6, out)


EXTENSION = oid_of(2, 25, 8064779717801458205)


def issue_certificate(identity, lifetime=3600):
    """(certificate in PEM, its key in PEM) that bind a fresh TLS key to an ed25519 identity."""
    issued = int(time.time())
    tls_key = ed25519.Ed25519PrivateKey.generate()
    spki = tls_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    times = struct.pack(">QQ", issued, issued + lifetime)
    key = identity.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    signature = identity.sign(b"dig-tls/1:" + spki + times)
    value = b"\1\1" + times + struct.pack(">H", len(key)) + key + struct.pack(">H", len(signature)) + signature
    name = der(0x30, der(0x31, der(0x30, oid_of(2, 5, 4, 3), der(0x0C, b"dig"))))
    validity = der(0x30, der(0x17, b"200101000000Z"), der(0x17, b"491231235959Z"))
    extensions = der(0xA3, der(0x30, der(0x30, EXTENSION, der(4, der(4, value)))))
    to_sign = der(0x30, der(0xA0, der(2, b"\2")), der(2, b"\1"), ED25519, name, validity, name, spki, extensions)
    certificate = der(0x30, to_sign, ED25519, der(3, b"\0", tls_key.sign(to_sign)))
    private = tls_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return ssl.DER_cert_to_PEM_cert(certificate).encode(), private


def identity_extension(certificate):
    """(SPKI, fields of the identity extension) of a certificate in DER."""
    check(len(certificate) <= 16384, "a certificate of more than 16 KiB")
    try:
        (_, body, _), = der_items(certificate)
        items = der_items(der_items(body)[0][1])
        items = items[1:] if items[0][0] == 0xA0 else items
        (_, listed, _), = der_items(next(contents for tag, contents, _ in items[6:] if tag == 0xA3))
        extensions = [der_items(contents) for _, contents, _ in der_items(listed)]
        (_, *critical, (outer, contents, _)), = [found for found in extensions if found[0][2] == EXTENSION]
        (inner, value, _), = der_items(contents)
    except (ValueError, IndexError, StopIteration) as error:
        raise Failure(FALSE, "a certificate without one identity extension") from error
    check((outer, inner) == (4, 4) and (not critical or critical[0][1] == b"\0"), "a malformed or critical identity extension")
    return items[5][2], value


def verify_certificate(certificate, now=None):
    """The NodeId of whoever presented this certificate (DER)."""
    now = int(time.time() if now is None else now)
    spki, value = identity_extension(certificate)
    reader = Reader(value, "the identity of the certificate")
    check(reader.uint(1) == 1, "an identity of another version")
    algorithm, issued, expires = reader.uint(1), reader.uint(8), reader.uint(8)
    key = reader.take(reader.uint(2))
    signature = reader.take(reader.uint(2))
    reader.end()
    verify_signature(algorithm, key, b"dig-tls/1:" + spki + struct.pack(">QQ", issued, expires), signature)
    check(issued < expires <= issued + 2_592_000, "an identity that lives too long")
    check(issued <= now + 3600, "an identity from the future; compare the clocks")
    check(now < expires + 3600, "an expired identity; compare the clocks")
    return sha256(key)


# --- Section 5: trees and folders ----------------------------------------------------------------

def node(left, right):
    return sha256(b"\1", left, right)


def root_of_nodes(level):
    """Pairs from the left, an odd one moves up unchanged: the same tree as the RFC's split."""
    while len(level) > 1:
        paired = [node(*level[place:place + 2]) for place in range(0, len(level) - 1, 2)]
        level = paired + level[len(level) & ~1:]
    return level[0] if level else sha256(b"")


def root_of_entries(entries):
    return root_of_nodes([sha256(b"\0", entry) for entry in entries])


def root_by_path(leaf, index, count, path):
    """RFC 9162 2.1.3.2: the root that `path` leads to; index < count, exactly the right length."""
    check(0 <= index < count, "a proof for a place that does not exist")
    place, last = index, count - 1
    for step in path:
        check(last > 0, "a proof with too many hashes")
        if place & 1 or place == last:
            leaf = node(step, leaf)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            leaf = node(leaf, step)
        place, last = place >> 1, last >> 1
    check(last == 0, "a proof with too few hashes")
    return leaf


def file_hash(size, root):
    return sha256(b"dig-file/1", struct.pack(">Q", size), root)


def folder_hash(size, table, root):
    return sha256(b"dig-folder/1", struct.pack(">QQ", size, table), root)


def discovery_key(kind, digest):
    return sha256(b"dig-disc/1", kind, digest)


def manifest_level(chunks):
    """k: a manifest node stands over 2^k chunks."""
    level = 4
    while -(-chunks // (1 << level)) > 131_072:
        level += 1
    return level


def chunks_of(size):
    return -(-size // CHUNK)


def name_is_allowed(name):
    """Sections 7 and 8: what a content may be called."""
    return (0 < len(name.encode()) <= 255
            and not any(ord(char) < 0x20 or 0x7F <= ord(char) <= 0x9F or char in "\\/" for char in name))


def component_is_safe(name):
    return name_is_allowed(name) and name not in (".", "..")


Record = collections.namedtuple("Record", "path size executable directory hash")


def decode_table(data):
    """The records of a folder's table; every rule of the text is checked."""
    check(len(data) <= 64 << 20, "a table of more than 64 MiB")
    reader = Reader(memoryview(data), "the table")
    check(reader.take(8) == b"digdir1\n", "no folder table")
    count, records, files, before = reader.uint(4), [], set(), b""
    check(count <= 1_000_000, "a table of more than 1,000,000 records")
    for _ in range(count):
        flags, size, digest = reader.uint(1), reader.uint(8), bytes(reader.take(32))
        raw = bytes(reader.take(reader.uint(2)))
        try:
            path = raw.decode()
        except UnicodeDecodeError as error:
            raise Failure(FALSE, "a path that is not UTF-8") from error
        parts = path.split("/")
        shown = ascii(path)
        check(flags in (0, 1, 2), f"unknown flags of {shown}")
        check(raw > before, f"{shown} is not in order")
        check(len(raw) <= 4096 and len(parts) <= 64 and all(map(component_is_safe, parts)), f"an unsafe path: {shown}")
        check(unicodedata.is_normalized("NFC", path), f"{shown} is not in normal form C")
        check(not any("/".join(parts[:depth]) in files for depth in range(1, len(parts))), f"{shown} lies below a file")
        check(flags != 2 or (size == 0 and digest == bytes(32)), f"the directory {shown} has contents")
        files.add(path)
        before = raw
        records.append(Record(path, size, flags == 1, flags == 2, digest))
    reader.end()
    check(sum(record.size for record in records) < 1 << 64, "files of more than 2^64 bytes")
    return records


# --- Section 8: tickets --------------------------------------------------------------------------

Ticket = collections.namedtuple("Ticket", "hash size name kind nodes")  # nodes: [(NodeId, [(ip, port)])]


def fields(reader):
    found = collections.defaultdict(list)
    while reader.data:
        found[reader.uint(1)].append(reader.take(reader.uint(2)))
    return found


def only(found, key, length=None):
    """The value of a field that may stand once; None where it does not stand."""
    values = found.pop(key, [None])
    check(len(values) == 1 and (None in (values[0], length) or len(values[0]) == length), "a malformed ticket", USAGE)
    return values[0]


def no_other(found):
    check(all(key % 2 for key in found), "a ticket with an unknown required field", USAGE)


def parse_ticket(text):
    check(len(text) <= 4096 and text.startswith("dig1"), "a ticket begins with dig1", USAGE)
    word = text[4:].upper()
    try:
        check(word.lower() == text[4:], "a ticket is lower case", USAGE)
        data = base64.b32decode(word + "=" * (-len(word) % 8))
    except ValueError as error:
        raise Failure(USAGE, "the ticket is mistyped or cut off") from error
    check(base64.b32encode(data).rstrip(b"=") == word.encode(), "the ticket is cut off", USAGE)
    check(len(data) > 5 and sha256(data[:-4])[:4] == data[-4:], "the ticket is damaged", USAGE)
    check(data[0] == 1, f"a ticket of version {data[0]}", USAGE)
    found = fields(Reader(data[1:-4], "the ticket", USAGE))
    content, size, name, kind = only(found, 0, 32), only(found, 1, 8), only(found, 3), only(found, 5, 1)
    nodes = [parse_node(value) for value in found.pop(2, [])]
    no_other(found)
    check(content and len(nodes) <= 16 and kind in (None, b"\0", b"\1"), "a malformed ticket", USAGE)
    if name is not None:
        name = unicodedata.normalize("NFC", name.decode(errors="replace"))
        check(name_is_allowed(name) and "\ufffd" not in name, "a ticket with a name that is not allowed", USAGE)
    return Ticket(content, size and int.from_bytes(size, "big"), name, kind and kind[0], nodes)


def parse_node(value):
    found = fields(Reader(value, "the ticket", USAGE))
    node_id, addresses = only(found, 0, 32), found.pop(2, [])
    no_other(found)
    check(node_id and len(addresses) <= 8 and all(len(address) in (6, 18) for address in addresses), "a malformed ticket", USAGE)
    addresses = [(str(ipaddress.ip_address(address[:-2])), int.from_bytes(address[-2:], "big")) for address in addresses]
    check(all(port for _, port in addresses), "a malformed ticket", USAGE)
    return node_id, addresses


def own_networks():
    """Subnets of this machine, as far as Linux tells (elsewhere none: private addresses are refused)."""
    networks = []
    try:
        for line in open("/proc/net/route").readlines()[1:]:
            words = line.split()
            target, gateway, mask = (socket.htonl(int(words[place], 16)) for place in (1, 2, 7))
            if mask and not gateway:
                networks.append(ipaddress.ip_network((target, bin(mask).count("1"))))
        for line in open("/proc/net/if_inet6"):
            words = line.split()
            networks.append(ipaddress.ip_network((bytes.fromhex(words[0]), int(words[2], 16)), strict=False))
    except OSError:
        pass
    return networks


def may_be_dialled(ip, networks):
    """Section 8: what a ticket may make us dial."""
    ip = ipaddress.ip_address(ip)
    if ip.version == 6:
        nat64 = ip in ipaddress.ip_network("64:ff9b::/96") and ipaddress.ip_address(ip.packed[12:])
        ip = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1]) or nat64 or ip
    if ip.is_loopback or ip.is_multicast or ip.is_unspecified:
        return False
    return ip.is_global or any(ip in network for network in networks)
