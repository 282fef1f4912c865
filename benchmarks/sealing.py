"""Measures how fast authapp and other packages encrypt ("seal") and decrypt ("open") a session.

Only these two steps are measured, not a whole request.

The packages for Node do their work some thousand times before they are measured, because V8
compiles only functions that run often.
"""

import base64
import json
import os
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fastapi_nextauth_jwt import NextAuthJWTv4
from itsdangerous import URLSafeTimedSerializer
from pyramid.session import JSONSerializer, SignedSerializer

from authapp.session.encryption import Sealer
from benchmarks.rounds import (
    Target,
    Turn,
    measure,
    microseconds,
    ratio,
    ratios,
    spread,
    table,
)
from benchmarks.rounds import turn as turn_of
from benchmarks.samples import SECRET, claims_of, large, small

TITLE = "Open and seal"
NAME = "authapp.session"
ROUNDS = 101
BARE = "AES-GCM + base64 + JSON"
OURS = "authapp"
turn = partial(turn_of, clock=time.perf_counter)
"""Like ``turn`` of :mod:`benchmarks.rounds`, but with elapsed time. Node cannot measure the
processor time, so no contender is measured with it."""

WARM_UP = 5000
"""The number of calls before a Node package is measured. By then, V8 has compiled its functions."""


class Node:
    """Run Node with the packages that are measured, while a ``with`` block runs."""

    def __enter__(self) -> "Node":
        self._process = subprocess.Popen(
            ["node", Path(__file__).parent / "nodes.mjs", SECRET, NAME],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()

    def ask(self, peer: str, action: str, value: object, number: int = 1) -> Any:
        """Make Node run a function of a package ``number`` times.

        :returns: the result of the last run, and the average time of one run in seconds.
        """
        question = {"peer": peer, "action": action, "number": number, "value": value}
        print(json.dumps(question), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def turn(self, peer: str, action: str, value: object) -> Turn:
        """Return a turn that is measured inside Node, after a warm-up."""
        self.ask(peer, action, value, WARM_UP)
        return lambda number: self.ask(peer, action, value, number)["seconds"]


class Bare:
    """The fastest possible encryption: one AEAD call, base64 and JSON, with a key that exists
    already."""

    def __init__(self) -> None:
        self._cipher = AESGCM(AESGCM.generate_key(256))

    def seal(self, claims: object) -> bytes:
        nonce = os.urandom(12)
        sealed = self._cipher.encrypt(nonce, json.dumps(claims).encode(), None)
        return base64.urlsafe_b64encode(nonce + sealed)

    def open(self, token: bytes) -> Any:
        raw = base64.urlsafe_b64decode(token)
        return json.loads(self._cipher.decrypt(raw[:12], raw[12:], None))


def python_peers() -> dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]]:
    """Return name -> two functions, which encrypt and decrypt claims that are JSON."""
    bare, fernet = Bare(), Fernet(Fernet.generate_key())
    signed = SignedSerializer(SECRET, "pyramid.session.", "sha512", serializer=JSONSerializer())
    dangerous = URLSafeTimedSerializer(SECRET)
    return {
        BARE: (bare.seal, bare.open),
        "Fernet (encrypted)": (
            lambda claims: fernet.encrypt(json.dumps(claims).encode()),
            lambda token: json.loads(fernet.decrypt(token)),
        ),
        "itsdangerous (signed)": (dangerous.dumps, dangerous.loads),
        "SignedCookieSession (signed)": (signed.dumps, signed.loads),
    }


def run(size: str, node: Node) -> tuple[dict[str, Turn], dict[str, Turn]]:
    """Return the contenders that encrypt a session, and the contenders that decrypt it."""
    session = {"small": small, "large": large}[size]()
    claims = claims_of(session)
    seals: dict[str, Turn] = {}
    opens: dict[str, Turn] = {}
    for format_name in ("next-auth-4", "authjs-5"):
        ours = Sealer([SECRET.encode()], format_name, NAME)
        token = ours.seal(session)
        assert ours.open(token).tokens == session.tokens
        # The functions themselves, without their caches.
        seals[f"{OURS}, {format_name}"] = turn(partial(ours.seal.__wrapped__, session))
        opens[f"{OURS}, {format_name}, cold"] = turn(partial(ours.open.__wrapped__, token))
    ours = Sealer([SECRET.encode()], "next-auth-4", NAME)
    token = ours.seal(session)
    text = token.encode()  # each request has a new string
    opens[f"{OURS}, warm"] = turn(lambda: ours.open(text.decode()))
    fastapi = NextAuthJWTv4(secret=SECRET, cookie_name=NAME, secure_cookie=False)
    request = SimpleNamespace(method="GET", cookies={NAME: token})
    assert fastapi(request)["data"] == claims["data"]
    opens["fastapi-nextauth-jwt"] = turn(lambda: fastapi(request))
    for name, (seal, open_) in python_peers().items():
        token = seal(claims)
        assert open_(token) == claims
        seals[name], opens[name] = turn(partial(seal, claims)), turn(partial(open_, token))
    for name in ("next-auth 4", "@auth/core"):
        token = node.ask(name, "seal", claims)["value"]
        assert node.ask(name, "open", token)["value"]["data"] == claims["data"]
        seals[f"{name} (Node)"] = node.turn(name, "seal", claims)
        opens[f"{name} (Node)"] = node.turn(name, "open", token)
        if size == "small":  # a large session would be in chunks
            assert node.ask(name, "request", token)["value"]["data"] == claims["data"]
            opens[f"{name} (Node), getToken of a request"] = node.turn(name, "request", token)
    return seals, opens


def report() -> tuple[str, list[Target]]:
    """Return the tables and the targets."""
    text, targets = "", []
    with Node() as node:
        for size in ("small", "large"):
            seals, opens = run(size, node)
            for action, turns in (("Open", opens), ("Seal", seals)):
                seconds = measure(turns, ROUNDS)
                rows = [
                    [
                        name,
                        microseconds(median(each)),
                        spread(each),
                        f"{ratio(each, seconds[BARE]):.2f}",
                    ]
                    for name, each in sorted(seconds.items(), key=lambda item: median(item[1]))
                ]
                text += f"\n{action} a {size} session\n\n"
                text += table(["", "median", "spread", f"over {BARE}"], rows)
                if action == "Open":
                    targets += judged(size, seconds)
                else:
                    ours, bare = seconds[f"{OURS}, next-auth-4"], seconds[BARE]
                    targets.append(Target(f"seal {size} / bare limit", 2, ratios(ours, bare)))
    return text, targets


def judged(size: str, seconds: dict[str, list[float]]) -> list[Target]:
    """Return the targets for decrypting."""
    cold, authjs = (seconds[f"{OURS}, {name}, cold"] for name in ("next-auth-4", "authjs-5"))
    four, five = seconds["next-auth 4 (Node)"], seconds["@auth/core (Node)"]
    warm, bare = seconds[f"{OURS}, warm"], seconds[BARE]
    return [
        Target(f"open {size}, warm / bare limit", 0.15, ratios(warm, bare)),
        Target(f"open {size}, cold / next-auth 4", 1, ratios(cold, four)),
        Target(f"open {size}, cold / @auth/core", 0.1, ratios(cold, five)),
        Target(f"open {size}, cold, in its own format / @auth/core", 0.1, ratios(authjs, five)),
    ]
