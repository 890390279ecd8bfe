"""One side of an ICE session by aioice: candidates and credentials are exchanged on standard input and output, a line each.

usage: agent.py CONTROLLING [STUN_HOST STUN_PORT [USER PASSWORD]]
"""

import asyncio
import json
import sys

import aioice


async def main(controlling, stun=None, turn=None):
    relayed = {}
    if turn is not None:
        relayed = dict(turn_server=stun, turn_username=turn[0], turn_password=turn[1])
    connection = aioice.Connection(ice_controlling=controlling, stun_server=stun, use_ipv6=False, **relayed)
    await connection.gather_candidates()
    print(json.dumps({
        "ufrag": connection.local_username,
        "password": connection.local_password,
        "candidates": [[c.type, c.host, c.port] for c in connection.local_candidates],
    }), flush=True)
    peer = json.loads(await asyncio.to_thread(sys.stdin.readline))
    connection.remote_username = peer["ufrag"]
    connection.remote_password = peer["password"]
    for number, (kind, host, port, priority) in enumerate(peer["candidates"]):
        await connection.add_remote_candidate(aioice.Candidate(
            foundation=str(number), component=1, transport="udp", priority=priority, host=host, port=port, type=kind,
        ))
    await connection.add_remote_candidate(None)
    await connection.connect()
    await connection.send(b"from aioice")
    heard = await connection.recv()
    pair = connection._nominated[1]
    print(json.dumps({
        "heard": heard.decode(),
        "local": [pair.local_candidate.type, *pair.local_addr],
        "remote": list(pair.remote_addr),
        "controlling": connection.ice_controlling,
    }), flush=True)
    # The other side reads first.
    await asyncio.to_thread(sys.stdin.readline)
    await connection.close()


if __name__ == "__main__":
    words = sys.argv[2:]
    server = (words[0], int(words[1])) if words else None
    asyncio.run(main(sys.argv[1] == "controlling", server, words[2:] or None))
