"""The interface of a store: short strings that expire, and leases.

There is no table of sessions in the store, because sessions are in cookies. The store contains
strings that are needed for a limited time: successors of spent refresh tokens, revoked sessions,
the state of a backend that is down, one-time values that were used, and an index of each user's
sessions.
"""

from contextlib import AbstractContextManager
from enum import Enum
from typing import NamedTuple, Protocol

PATIENCE = 120.0
"""The default of ``authapp.shared.patience``, in seconds."""


class StoreUnavailable(Exception):
    """The store that processes share is down, or has refused a command."""


class Key(NamedTuple):
    """The key of a string in the store: a purpose, and a secret such as a refresh token.

    :ivar group: the id of a user, for example. In a cluster, keys of one group are on one node, so
        they can be read together. Two keys that differ only in the group are equal.
    """

    purpose: str
    secret: str
    group: str = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self[:2] == other[:2]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self[:2])

    def __repr__(self) -> str:
        return f"Key({self.purpose!r})"


class Lease(Enum):
    """The result of trying to take a lease."""

    MINE = "mine"
    """This process has the lease."""
    THEIRS = "theirs"
    """Another process has the lease."""
    UNSURE = "unsure"
    """The store is down or has refused the command. Another process may have the lease."""
    ALONE = "alone"
    """The store has been down, or has refused the command, for ``authapp.shared.patience`` seconds.
    Each process now works on its own."""


class Store(Protocol):
    """A store of short strings, each with an expiry time."""

    def get(self, *keys: Key) -> list[str | None]:
        """Return the string of each key, or None if the string is missing or has expired."""

    def recall(self, *keys: Key) -> list[str | None]:
        """Return the string of each key as :meth:`get` does, but from this process's memory.

        While this process receives no notices of other processes, this method does the same as
        :meth:`get`. If another process changes a string, the old string is returned until the
        notice arrives. So use :meth:`get` before you write a cookie or spend a token.

        :param keys: keys whose strings are always stored with ``notify=True``.
        """

    def put(self, key: Key, text: str, seconds: float, *, notify: bool = False) -> None:
        """Store a string under a key for ``seconds``. The string replaces an earlier string.

        While processes cannot exchange data, they may store different strings under one key. When
        these strings are merged later, the greatest string in Python's order of strings is kept.
        So the string that must be kept has to be the greatest.

        :param notify: True to publish a notice of the change. :meth:`recall` needs this.
        """

    def lease(self, key: Key) -> AbstractContextManager[Lease]:
        """Try to become the only process that works on a key.

        This method does not wait until another process releases its lease. The lease lasts as long
        as the ``with`` block. If the process dies, the lease expires after a few seconds. A lease
        does not coordinate the threads of one process.

        :returns: a context manager, which returns a :class:`Lease` when it is entered.
        """

    def remembers(self, seconds: float) -> bool:
        """Return True if the store has lost no string and no lease in the last ``seconds``.

        If False, another process may be working on a key although this process has the lease.
        """

    def settles_in(self, key: Key) -> float:
        """Return the seconds until all processes have stored what they did during an outage.

        Until then, another process may have finished work on a key, or may still be working on it,
        although this process has the lease of the key.

        :param key: the key of the lease. In a cluster, an outage may concern only some keys.
        :returns: 0 if the store has been up for long enough. Infinity while the store is down.
        """

    def problems(self) -> list[str]:
        """Return the names of problems that a store can have while it is up, such as "eviction".

        :class:`authapp.store.redis_inspection.RedisInspection` logs each problem with a remedy.
        """

    def healthy(self) -> bool:
        """Return True if the processes can exchange strings and leases through the store now."""
