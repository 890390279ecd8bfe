"""What dig_formats.py must accept and must refuse, beyond the published vectors."""

import ipaddress
import random
import ssl
import struct
import unittest

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import dig_formats as dig
import fake_host

# Certificate Transparency's vectors (RFC 6962, reference implementation): inputs and roots of the first n.
INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


class Trees(unittest.TestCase):
    def test_roots_are_those_of_certificate_transparency(self):
        for count, root in ROOTS.items():
            entries = [bytes.fromhex(text) for text in INPUTS[:count]]
            self.assertEqual(dig.root_of_entries(entries).hex(), root)

    def test_proofs_hold_and_forged_ones_do_not(self):
        for count in range(1, 40):
            leaves = [dig.sha256(bytes([number])) for number in range(count)]
            root = dig.root_of_nodes(leaves)
            self.assertEqual(root, fake_host.mth(leaves))
            for index in range(count):
                path = fake_host.proof(index, leaves)
                self.assertEqual(dig.root_by_path(leaves[index], index, count, path), root)
                for forged in (path + [bytes(32)], path[:-1], path[::-1] + [root]):
                    if forged != path:
                        self.assertFalse(leads_to(root, leaves[index], index, count, forged), (index, count))
                for place in {index + count, count, index ^ 1} - {index}:
                    self.assertFalse(leads_to(root, leaves[index], place, count, path), (index, place, count))


def leads_to(root, leaf, index, count, path):
    try:
        return dig.root_by_path(leaf, index, count, path) == root
    except dig.Failure:
        return False


class Signatures(unittest.TestCase):
    def refused(self, *how):
        with self.assertRaises(dig.Failure):
            dig.verify_signature(*how)

    def test_ed25519(self):
        private = ed25519.Ed25519PrivateKey.generate()
        key, signature = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw), private.sign(b"m")
        dig.verify_signature(1, key, b"m", signature)
        self.refused(1, key, b"n", signature)
        self.refused(1, key + b"\0", b"m", signature)
        # With the neutral point as key, R = s * B is a signature of everything.
        neutral = b"\1" + bytes(31)
        self.refused(1, neutral, b"m", neutral + bytes(32))

    def test_secp256k1(self):
        private = ec.generate_private_key(ec.SECP256K1())
        key = private.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        r, s = utils.decode_dss_signature(private.sign(b"m", ec.ECDSA(hashes.SHA256())))
        low = min(s, 2 * dig.HALF_ORDER + 1 - s)
        signature = lambda half: r.to_bytes(32, "big") + half.to_bytes(32, "big")
        dig.verify_signature(2, key, b"m", signature(low))
        self.refused(2, key, b"m", signature(2 * dig.HALF_ORDER + 1 - low))
        self.refused(2, key, b"n", signature(low))
        self.refused(2, b"\5" + key[1:], b"m", signature(low))

    def test_rsa(self):
        private = rsa.generate_private_key(65537, 2048)
        key = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        sign = lambda salt: private.sign(b"m", padding.PSS(padding.MGF1(hashes.SHA256()), salt), hashes.SHA256())
        dig.verify_signature(3, key, b"m", sign(32))
        self.refused(3, key, b"m", sign(20))
        self.refused(3, key, b"n", sign(32))
        self.refused(3, key[:-1], b"m", sign(32))
        self.refused(4, key, b"m", sign(32))


class Certificates(unittest.TestCase):
    def test_damaged_ones_are_refused(self):
        identity = ed25519.Ed25519PrivateKey.generate()
        good = ssl.PEM_cert_to_DER_cert(dig.issue_certificate(identity)[0].decode())
        public = identity.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.assertEqual(dig.verify_certificate(good), dig.sha256(public))
        place = good.index(dig.EXTENSION)
        for end in range(len(good)):
            with self.assertRaises(dig.Failure):
                dig.verify_certificate(good[:end])
        for offset in range(place, place + 134):  # the object id, the lengths, the identity and its signature
            damaged = bytearray(good)
            damaged[offset] ^= 1
            with self.assertRaises(dig.Failure, msg=str(offset - place)):
                dig.verify_certificate(bytes(damaged))

    def test_any_bytes_are_answered(self):
        seed = random.randrange(1 << 32)
        noise = random.Random(seed)
        for _ in range(2000):
            data = bytearray(noise.randbytes(noise.randrange(80)))
            with self.assertRaises(dig.Failure, msg=f"seed {seed}"):
                dig.verify_certificate(bytes(data))
            with self.assertRaises(dig.Failure, msg=f"seed {seed}"):
                dig.decode_table(b"digdir1\n" + struct.pack(">I", 1) + bytes(data))


class Dialling(unittest.TestCase):
    def test_a_ticket_reaches_only_where_it_may(self):
        networks = [ipaddress.ip_network("192.168.7.0/24"), ipaddress.ip_network("fd00:7::/64")]
        for ip, may in {
            "192.168.7.9": True, "192.168.8.9": False, "10.0.0.1": False, "8.8.8.8": True, "127.0.0.1": False,
            "0.0.0.0": False, "224.0.0.251": False, "169.254.1.1": False, "fd00:7::9": True, "fd00:8::9": False,
            "::1": False, "ff02::1": False, "::": False, "::ffff:127.0.0.1": False, "::ffff:192.168.7.9": True,
            "2606:4700::1": True, "fe80::1": False, "100.64.0.1": False,
            "2002:7f00:1::": False, "2002:808:808::": True, "64:ff9b::7f00:1": False, "64:ff9b::808:808": True,
        }.items():
            self.assertEqual(dig.may_be_dialled(ip, networks), may, ip)


if __name__ == "__main__":
    unittest.main()
