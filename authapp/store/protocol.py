"""What a store promises: small texts under keys, each for a given time, and leases.

A session lives in its cookie. The store remembers only exceptions, for a while: the successor
of a spent refresh token, sessions that were signed out, a backend that is down.
"""

from contextlib import AbstractContextManager
from enum import Enum
from typing import NamedTuple, Protocol


class StoreUnavailable(Exception):
    """The store that processes share is down, or refused a command."""


class Key(NamedTuple):
    """Where a text is kept: a purpose, and a secret within it (a refresh token, say)."""

    purpose: str
    secret: str

    def __repr__(self) -> str:
        return f"Key({self.purpose!r})"


class Lease(Enum):
    """The result of an attempt to take a lease."""

    MINE = "mine"
    THEIRS = "theirs"
    UNSURE = "unsure"
    """No other process is known to have it, but they cannot be asked."""


class Store(Protocol):
    """A store of small texts, each kept for a given time."""

    def get(self, *keys: Key) -> list[str | None]:
        """The texts under some keys; None for a key that has none, or whose time is over."""

    def put(self, key: Key, text: str, seconds: float) -> None:
        """Keep a text under a key for ``seconds``.

        Processes may put different texts under one key while they cannot reach each other.
        Of these the greater text wins, so what is put must be ordered in that way.
        """

    def lease(self, key: Key) -> AbstractContextManager[Lease]:
        """Try to be the only process that works on a key; see :class:`Lease`.

        This returns at once. The lease lasts as long as the ``with`` block, and ends by itself
        a few seconds after its process died. It does not keep threads of one process apart.
        """

    def remembers(self, seconds: float) -> bool:
        """Whether everything that was put, and every lease, of the last ``seconds`` is there.

        If not, another process may be working on a key that this process has a lease for.
        """

    def healthy(self) -> bool:
        """Whether all processes that share the store can reach each other through it."""
