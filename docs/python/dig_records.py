"""Signed records (docs/protocol.md, section 10): not needed for a download, but part of the protocol."""

import json
import re

from dig_formats import Failure, check, sha256, verify_signature

ALGORITHMS = {"ed25519": 1, "secp256k1": 2, "rsa": 3}
THIRTY_DAYS, TWO_MINUTES = 30 * 86_400_000, 120_000  # milliseconds


def canonical(value):
    """RFC 8785 form; keys are ASCII and numbers small integers here, so that Python's own writer has it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def refuse(text):
    raise Failure(5, f"a number that a record cannot hold: {text}")


def integer(text):
    return int(text) if re.fullmatch("0|[1-9][0-9]{0,15}", text) and int(text) < 1 << 53 else refuse(text)


def check_value(value, depth):
    """Every value is of a kind that records may hold, at most 8 deep."""
    check(value is not None, "null in a record")
    if isinstance(value, (list, dict)):
        check(depth < 8, "a record that is too deep")
        for key in value if isinstance(value, dict) else ():
            check(key.isascii() and not re.fullmatch("-?[0-9]+", key), f"{key!r} as a key of a record")
        for inner in value.values() if isinstance(value, dict) else value:
            check_value(inner, depth + 1)


def verify_record(text, now):
    """The data of a record that is valid at `now` (Unix milliseconds)."""
    try:
        check(len(text.encode()) <= 16_384, "a record of more than 16 KiB")
        record = json.loads(text, parse_int=integer, parse_float=refuse, parse_constant=refuse)
        check(isinstance(record, dict) and set(record) == {"data", "signature"}, "no record")
        data, signature = record["data"], record["signature"]
        check(isinstance(data, dict) and isinstance(signature, str), "no record")
        check_value(data, 0)
        check(canonical(record) == text, "a record that is not in canonical form")
        signed = canonical(data).encode()
    except (ValueError, RecursionError) as error:
        raise Failure(5, f"no record ({type(error).__name__})") from error
    words = [data.get(name) for name in ("t", "alg", "key", "node")]
    numbers = [data.get(name) for name in ("seq", "iat", "exp")]
    check(all(type(word) is str for word in words) and all(type(number) is int for number in numbers), "a field is missing")
    _, algorithm, key, node = words
    _, issued, expires = numbers
    check(algorithm in ALGORITHMS and re.fullmatch("([0-9a-f]{2})+", key), "a key in another form")
    check(sha256(bytes.fromhex(key)).hex() == node, "the node id is not that of the key")
    check(issued < expires <= issued + THIRTY_DAYS, "a record that lives too long")
    check(issued <= now + TWO_MINUTES and now < expires, "a record of another time")
    check(re.fullmatch("([0-9a-f]{2})+", signature), "a signature in another form")
    verify_signature(ALGORITHMS[algorithm], bytes.fromhex(key), signed, bytes.fromhex(signature))
    return data
