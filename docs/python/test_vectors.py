"""Checks the published test vectors, docs/vectors/*.json, against this second implementation.

Offline, a second or two: python3 docs/python/test_vectors.py
"""

import collections
import functools
import ipaddress
import json
import os
import struct
import unicodedata
import unittest
import urllib.parse

import dig_formats as dig
import dig_records

VECTORS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "vectors")


def load(name):
    with open(os.path.join(VECTORS, name), encoding="utf-8") as file:
        return json.load(file)


class Tickets(unittest.TestCase):
    def meaning(self, ticket):
        return {
            "hash": ticket.hash.hex(), "size": ticket.size, "name": ticket.name,
            "kind": None if ticket.kind is None else ("file", "folder")[ticket.kind],
            "nodes": [{"node": node.hex(), "addresses": [shown(*address) for address in addresses]}
                      for node, addresses in ticket.nodes],
        }

    def test_good_tickets_mean_what_they_say(self):
        vectors = load("tickets.json")
        for vector in vectors["good"] + vectors["readable"]:
            self.assertEqual(self.meaning(dig.parse_ticket(vector["ticket"])), vector["means"])
        self.assertGreater(len(vectors["good"]), 2)

    def test_links_say_the_same(self):
        for vector in load("tickets.json")["good"]:
            means, link = vector["means"], urllib.parse.urlsplit(vector["magnet"])
            said = urllib.parse.parse_qs(link.query, strict_parsing=True)
            self.assertEqual((link.scheme, said["xt"]), ("magnet", ["urn:dig:" + means["hash"]]))
            self.assertEqual(said.get("xl"), None if means["size"] is None else [str(means["size"])])
            self.assertEqual(said.get("dn", [None])[0], means["name"])
            peers = [f"{node['node']}@{address}" for node in means["nodes"] for address in node["addresses"]]
            self.assertEqual(said.get("x.pe", []), peers)

    def test_bad_tickets_are_refused(self):
        for vector in load("tickets.json")["bad"]:
            with self.subTest(why=vector["why"]), self.assertRaises(dig.Failure):
                dig.parse_ticket(vector["ticket"])


def shown(ip, port):
    return f"[{ip}]:{port}" if ipaddress.ip_address(ip).version == 6 else f"{ip}:{port}"


def cases(name):
    """(case, whether it must be accepted) of a file of judged cases."""
    for case in load(name)["cases"]:
        yield case, case["verdict"] == "ok"


class Identities(unittest.TestCase):
    ALGORITHMS = dig_records.ALGORITHMS

    def test_keys_and_signatures(self):
        kinds = collections.Counter()
        for case in load("identity.json")["cases"]:
            kinds[case["kind"]] += 1
            algorithm = self.ALGORITHMS[case["algorithm"]]
            public, message, signature = (bytes.fromhex(case.get(key, "")) for key in ("public", "message", "signature"))
            with self.subTest(kind=case["kind"], name=case.get("name"), algorithm=algorithm):
                if case["kind"] == "key":
                    self.assertEqual(dig.sha256(public).hex(), case["node_id"])
                    dig.verify_signature(algorithm, public, message, signature)
                elif case["kind"] in ("bad-key", "bad-signature"):
                    with self.assertRaises(dig.Failure):
                        if case["kind"] == "bad-key":
                            dig.check_key(algorithm, public)
                        else:
                            dig.verify_signature(algorithm, public, message, signature)
        self.assertTrue(all(kinds[kind] > 2 for kind in ("key", "bad-key", "bad-signature")), kinds)

    def test_certificates(self):
        for case, good in cases("certificates.json"):
            der = bytes.fromhex(case["der"])
            with self.subTest(name=case["name"]):
                if good:
                    self.assertEqual(dig.verify_certificate(der, case["now"]).hex(), case["node_id"])
                else:
                    with self.assertRaises(dig.Failure):
                        dig.verify_certificate(der, case["now"])

    def test_records(self):
        for case, good in cases("records.json"):
            with self.subTest(name=case["name"]):
                if good:
                    data = dig_records.verify_record(case["text"], case["now"])
                    body = {key: value for key, value in data.items()
                            if key not in ("t", "alg", "key", "node", "seq", "iat", "exp")}
                    self.assertEqual((data["node"], data["t"], data["seq"], body),
                                     (case["node_id"], case["t"], case["seq"], case["body"]))
                else:
                    with self.assertRaises(dig.Failure):
                        dig_records.verify_record(case["text"], case["now"])

    def test_challenge_and_response(self):
        """The texts are put together here from the text of section 4, and the signatures of both sides are checked."""
        for case in load("identity-auth.json")["cases"]:
            request, challenge, response = (json.loads(case[key]) for key in ("request", "challenge_message", "response"))
            self.assertEqual(request, {"clientNonce": case["client_nonce"], "peerId": case["client_id"]})
            self.assertEqual((challenge["challenge"], challenge["timestamp"]), (case["challenge"], case["timestamp"]))
            self.assertEqual(response["timestamp"], case["timestamp"])
            for role, side, node in (("host", challenge, challenge["hostId"]), ("client", response, response["peerId"])):
                text = dig_records.canonical({
                    "t": "dig.auth.v1", "alg": side["algorithm"], "cb": case["cb"], "challenge": case["challenge"],
                    "clientId": case["client_id"], "clientNonce": case["client_nonce"], "hostId": case["host_id"],
                    "role": role, "timestamp": case["timestamp"]})
                self.assertEqual(text, case[role + "_signs"])
                key = bytes.fromhex(side["publicKey"])
                self.assertEqual(dig.sha256(key).hex(), node)
                dig.verify_signature(self.ALGORITHMS[side["algorithm"]], key, text.encode(), bytes.fromhex(side["signature"]))


def hexes(digests):
    return [digest.hex() for digest in digests]


@functools.cache
def longest_pattern():
    return bytes((i * i // 251 + i) & 0xFF for i in range(3 << 20))


def pattern(size):
    return longest_pattern()[:size]


def entries_of(data):
    return [dig.sha256(data[place:place + dig.CHUNK]) for place in range(0, len(data), dig.CHUNK)]


@functools.cache
def uniform(chunks):
    """Root over so many equal entries, by the definition of RFC 9162."""
    if chunks == 1:
        return dig.sha256(b"\0", b"\x5a" * 32)
    split = 1 << (chunks - 1).bit_length() - 1
    return dig.node(uniform(split), uniform(chunks - split))


class Contents(unittest.TestCase):
    def test_roots(self):
        vectors = load("trees.json")
        published = vectors["certificate_transparency"]
        for count, root in enumerate(published["roots"]):
            self.assertEqual(dig.root_of_entries([bytes.fromhex(text) for text in published["inputs"][:count]]).hex(), root)
        for case in vectors["entries"]["roots"]:
            entries = [dig.sha256(struct.pack(">Q", number)) for number in range(case["chunks"])]
            self.assertEqual(dig.root_of_entries(entries).hex(), case["root"])

    def test_manifests_and_paths(self):
        for case in load("trees.json")["groups"]["cases"]:
            with self.subTest(chunks=case["chunks"], group=case["group"]):
                chunks, group, level = case["chunks"], case["group"], dig.manifest_level(case["chunks"])
                span = 1 << level
                inside = min(dig.GROUP, chunks - group * dig.GROUP)
                index = group * dig.GROUP // span
                below = min(span, chunks - index * span)  # chunks of the manifest node
                self.assertEqual((level, index), (case["level"], case["manifest_index"]))
                self.assertEqual(hexes([uniform(chunks), uniform(inside), uniform(below)]),
                                 [case["root"], case["node"], case["manifest_node"]])
                to_root, to_manifest = ([bytes.fromhex(step) for step in case[name]] for name in ("to_root", "to_manifest"))
                self.assertEqual(dig.root_by_path(uniform(inside), group, -(-chunks // dig.GROUP), to_root), uniform(chunks))
                self.assertEqual(dig.root_by_path(uniform(inside), group - index * span // dig.GROUP,
                                                  -(-below // dig.GROUP), to_manifest), uniform(below))

    def manifest(self, entries):
        span = 1 << dig.manifest_level(len(entries))
        return [dig.root_of_entries(entries[place:place + span]) for place in range(0, len(entries), span)]

    def test_files(self):
        for case in load("content.json")["cases"]:
            with self.subTest(size=case["size"]):
                data = pattern(case["size"])
                entries = entries_of(data)
                root = dig.root_of_entries(entries)
                self.assertEqual((len(entries), dig.sha256(data).hex(), root.hex()), (case["chunks"], case["sha256"], case["root"]))
                self.assertEqual(dig.file_hash(len(data), root).hex(), case["content_hash"])
                self.assertEqual(hexes(self.manifest(entries)), case["manifest"])
                self.assertEqual(dig.root_of_nodes(self.manifest(entries)), root)
                for number, group in enumerate(case["groups"]):
                    own = entries[number * dig.GROUP:(number + 1) * dig.GROUP]
                    self.assertEqual(hexes(own), group["entries"])
                    path = [bytes.fromhex(step) for step in group["to_root"]]
                    self.assertEqual(dig.root_by_path(dig.root_of_entries(own), number, len(case["groups"]), path), root)

    def test_folders(self):
        for case in load("folders.json")["folders"]:
            with self.subTest(name=case["name"]):
                table = bytes.fromhex(case["table"])
                entries, listed = entries_of(table), []
                for record in dig.decode_table(table):
                    own = entries_of(pattern(record.size))
                    listed.append({"path": record.path, "size": record.size, "executable": record.executable,
                                   "directory": record.directory, "chunks": len(own)})
                    if not record.directory:
                        self.assertEqual(dig.file_hash(record.size, dig.root_of_entries(own)), record.hash)
                        listed[-1].update(first_chunk=len(entries), content_hash=record.hash.hex())
                    entries += own
                for mine, theirs in zip(listed, case["files"], strict=True):
                    self.assertEqual(mine, {key: theirs[key] for key in mine})
                root = dig.root_of_entries(entries)
                self.assertEqual((len(entries), len(table), root.hex()), (case["chunks"], case["table_length"], case["root"]))
                self.assertEqual(dig.folder_hash(case["total_size"], len(table), root).hex(), case["content_hash"])
                self.assertEqual(hexes(self.manifest(entries)), case["manifest"])

    def test_tables(self):
        for case in load("folders.json")["tables"]:
            with self.subTest(name=case["name"]):
                self.assertEqual(is_table(bytes.fromhex(case["table"])), case["valid"])

    def test_paths_and_keys(self):
        vectors = load("names.json")
        for verdict in ("allowed", "refused"):
            for path in vectors["paths"][verdict]:
                raw = path.encode()
                table = b"digdir1\n\0\0\0\1" + bytes(41) + struct.pack(">H", len(raw)) + raw
                self.assertEqual(is_table(table), verdict == "allowed", path)
        keys = vectors["discovery_keys"]
        for kind in ("content", "sha256"):
            self.assertEqual(dig.discovery_key(kind.encode(), bytes.fromhex(keys[kind]["hash"])).hex(), keys[kind]["key"])
        for case in keys["name"]:
            name = unicodedata.normalize("NFC", case["text"])
            self.assertEqual(name, case["normal_form_c"])
            self.assertEqual(dig.discovery_key(b"name", dig.sha256(name.encode())).hex(), case["key"])


def is_table(data):
    try:
        dig.decode_table(data)
        return True
    except dig.Failure:
        return False


class Frames(unittest.TestCase):
    """Each payload is taken apart by the text, field by field, to the last byte."""

    def test_frames(self):
        vectors = load("frames.json")
        for vector in vectors:
            with self.subTest(name=vector["name"]):
                payload = bytes.fromhex(vector["payload"])
                header = struct.pack(">HII", vector["type"], vector["request"], len(payload))
                self.assertEqual(bytes.fromhex(vector["frame"]), header + payload)
                reader = dig.Reader(payload, vector["name"])
                getattr(self, f"frame_{vector['type']:02x}")(reader)
                reader.end()
        self.assertGreater(len(vectors), 10)

    def text(self, reader):
        return reader.take(reader.uint(2)).decode()

    def frame_20(self, reader):  # RESOLVE
        kind = reader.uint(1)
        value = reader.take(len(reader.data))
        self.assertTrue(len(value) == 32 if kind in (1, 2) else kind == 3 and dig.name_is_allowed(value.decode()))
        self.assertTrue(kind != 3 or unicodedata.is_normalized("NFC", value.decode()))

    def frame_22(self, reader):  # RESOLVED
        if status := reader.uint(1):
            self.assertEqual((status, reader.uint(4) > 0), (1, True))
            return
        for _ in range(reader.uint(1)):
            reader.take(32)
            self.assertIn(reader.uint(1), (0, 1))
            reader.uint(8)
            self.text(reader)

    def frame_24(self, reader):  # OPEN
        reader.take(32)

    frame_28 = frame_39 = frame_24  # MANIFEST_GET, DONE

    def frame_26(self, reader):  # INFO
        kind, size, table, chunks = reader.uint(1), reader.uint(8), reader.uint(8), reader.uint(8)
        reader.take(32)
        self.assertIn(reader.uint(1), (0, 1))
        self.text(reader)
        if kind == 0:
            self.assertEqual((table, chunks), (0, dig.chunks_of(size)))
        else:
            self.assertEqual(kind, 1)
            self.assertLessEqual(dig.chunks_of(table), chunks)

    def frame_2a(self, reader):  # MANIFEST
        reader.uint(4)
        self.assertTrue(0 < len(reader.data) <= 2048 * 32)
        self.assertEqual(len(reader.take(len(reader.data))) % 32, 0)

    def frame_2c(self, reader):  # GET
        reader.take(32)
        first, count, want = reader.uint(8), reader.uint(1), reader.uint(1)
        self.assertEqual(first // dig.GROUP, (first + count - 1) // dig.GROUP)
        self.assertIn(want, (0, 1, 2))

    def frame_2e(self, reader):  # ENTRIES
        for _ in range(2):
            reader.take(32 * reader.uint(1))

    def frame_30(self, reader):  # DATA
        self.assertTrue(0 < len(reader.take(len(reader.data))) <= dig.CHUNK)

    def frame_32(self, reader):  # HAVE
        reader.uint(4)
        self.assertTrue(1 <= len(reader.take(len(reader.data))) <= 8192)

    def frame_34(self, reader):  # REFUSED
        self.assertIn(reader.uint(2), range(1, 10))
        reader.uint(4)
        self.assertLessEqual(len(reader.take(len(reader.data)).decode()), 256)

    def frame_36(self, reader):  # CANCEL
        pass


if __name__ == "__main__":
    unittest.main()
