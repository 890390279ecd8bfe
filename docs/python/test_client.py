"""The client against a host in memory: what must arrive arrives, and no lie gets through."""

import os
import random
import struct
import tempfile
import time
import unittest
from unittest import mock

from cryptography.hazmat.primitives.asymmetric import ed25519

import dig_get
from dig_formats import FALSE, LOCAL, NO_CONNECTION, NOT_FOUND, Failure, issue_certificate
from fake_host import FakeHost, hash_of_file, table_of

CHUNK = 65536
CLIENT = issue_certificate(ed25519.Ed25519PrivateKey.generate())


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


FOLDER = {
    "a/empty": b"", "a/script*": b"#!/bin/sh\n", "a-b": noise(CHUNK * 3 + 5, 2), "b/c/d.bin": noise(CHUNK * 20, 3),
    "hollow": None, "z\u00e9": noise(1, 4),
}


class Client(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.target = os.path.join(folder.name, "target")

    def host(self, content, **options):
        host = FakeHost(content, CLIENT, **options)
        self.addCleanup(host.close)
        return host

    def get(self, host, what=None, peer=None):
        return dig_get.get(what or host.hash.hex(), [peer or host.peer()], self.target, CLIENT)

    def assertFails(self, code, host, words="", **how):
        with self.assertRaises(Failure) as caught:
            self.get(host, **how)
        self.assertEqual((caught.exception.code, words in str(caught.exception)), (code, True), str(caught.exception))
        self.assertFalse(os.path.exists(self.target) or os.path.exists(self.target + ".part"))

    def assertArrives(self, host, data, **how):
        self.get(host, **how)
        with open(self.target, "rb") as file:
            self.assertEqual(file.read(), data)
        self.assertFalse(os.path.exists(self.target + ".part"))

    def test_files_of_all_sizes_arrive(self):
        for size in (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 16 * CHUNK, 16 * CHUNK + 1, 17 * CHUNK, 100 * CHUNK + 7):
            with self.subTest(size=size):
                host = self.host(noise(size))
                self.assertArrives(host, noise(size))
                os.remove(self.target)

    def test_by_name_and_without_identity(self):
        host = self.host(b"hello", name="gru\u00df")
        self.assertArrives(host, b"hello", what="gru\u00df", peer=f"127.0.0.1:{host.port}")
        for _ in range(100):  # the host reads DONE after the client has left
            time.sleep(0 if host.done else 0.02)
        self.assertEqual(host.done, [host.hash])

    def test_a_folder_arrives(self):
        self.get(self.host(FOLDER))
        for path, data in FOLDER.items():
            path = os.path.join(self.target, path)
            if data is None:
                self.assertEqual(os.listdir(path), [])
                continue
            with open(path.rstrip("*"), "rb") as file:
                self.assertEqual(file.read(), data)
            self.assertEqual(os.access(path.rstrip("*"), os.X_OK), path.endswith("*"))

    def test_an_empty_folder_arrives(self):
        self.get(self.host({}))
        self.assertEqual(os.listdir(self.target), [])

    def test_busy_and_partial_hosts_are_waited_for(self):
        data = noise(80 * CHUNK)
        for faults in (["busy"], ["middle"], ["partial"], ["busy", "middle", "partial"]):
            with self.subTest(faults=faults):
                self.assertArrives(self.host(data, faults=faults), data)
                os.remove(self.target)

    def test_lies_are_noticed(self):
        data = noise(40 * CHUNK)
        for fault, words in {
            "data": "chunk 39 is false", "length": "false length", "path": "too many hashes",
            "entry": "do not belong", "size": "another content", "count": "number of chunks",
            "unasked": "nobody asked",
        }.items():
            with self.subTest(fault=fault):
                self.assertFails(FALSE, self.host(data, faults=[fault]), words)

    def test_false_tables_are_noticed(self):
        good = {"a": b"1", "b": b"22"}
        table = table_of(good)
        one = struct.pack(">BQ", 0, 1) + hash_of_file(b"1")
        for name, false, words in [
            ("escape", table_of({"../a": b"1", "b": b"22"}), "unsafe path"),
            ("absolute", table_of({"/a": b"1", "b": b"22"}), "unsafe path"),
            ("escape character", table_of({"\x1b": b"1", "b": b"22"}), "unsafe path"),
            ("long", table_of({"a" * 256: b"1", "b": b"22"}), "unsafe path"),
            ("trailing", table + b"x", "too many"),
            ("count", table.replace(b"\0\0\0\2", b"\0\0\0\3", 1), "cut off"),
            ("size", table_of({"a": b"1", "b": b"2"}), "size"),
            ("chunks", table_of({"a": b"1", "b": b""}), "number of chunks"),
            ("hash", table_of({"a": b"1", "b": b"23"}), "false hash"),
            ("order", b"digdir1\n\0\0\0\2" + (one + b"\0\1b") + (one + b"\0\1a"), "order"),
            ("twice", b"digdir1\n\0\0\0\2" + (one + b"\0\1a") * 2, "order"),
            ("below a file", b"digdir1\n\0\0\0\2" + (one + b"\0\1a") + (one + b"\0\3a/b"), "below a file"),
            ("normal form", table_of({"e\u0301": b"1", "f": b"22"}), "normal form"),
        ]:
            with self.subTest(name=name):
                self.assertFails(FALSE, self.host(good, table=false), words)

    def test_identities_are_checked(self):
        host = self.host(b"x")
        self.assertFails(NO_CONNECTION, host, "wrong identity", peer=f"{'00' * 32}@127.0.0.1:{host.port}")
        self.assertFails(NO_CONNECTION, self.host(b"x", lifetime=-7200), "too long")
        self.assertFails(NO_CONNECTION, self.host(b"x", lifetime=31 * 86400), "too long")
        aged = self.host(b"x", lifetime=1)
        with mock.patch("dig_formats.time.time", return_value=time.time() + 3700):
            self.assertFails(NO_CONNECTION, aged, "expired")
        with mock.patch("dig_formats.time.time", return_value=time.time() - 3700):
            self.assertFails(NO_CONNECTION, host, "future")

    def test_what_cannot_be_agreed_ends_the_lane(self):
        self.assertFails(NO_CONNECTION, self.host(b"x", faults=["version"]), "common version")
        self.assertFails(NO_CONNECTION, self.host(b"x", faults=["field"]), "required field")
        self.assertFails(NO_CONNECTION, self.host(b"x", faults=["alpn"]))
        self.assertFails(NOT_FOUND, self.host(b"x"), "refuses", what="ab" * 32)

    def test_nothing_is_overwritten(self):
        host = self.host(b"x")
        for path in (self.target, self.target + ".part"):
            with open(path, "w") as file:
                file.write("mine")
            with self.assertRaises(Failure) as caught:
                self.get(host)
            self.assertEqual(caught.exception.code, LOCAL)
            with open(path) as file:
                self.assertEqual(file.read(), "mine")
            os.remove(path)


if __name__ == "__main__":
    unittest.main()
