"""The shared memory: what requests must know of each other, for a while.

A session lives in its cookie. What is remembered here are the exceptions: who succeeded a
spent refresh token, which sessions were ended, whether the backend was down a moment ago.
"""

from contextlib import AbstractContextManager
from enum import Enum
from typing import NamedTuple, Protocol


class Away(Exception):
    """What others share cannot be reached, or could not a moment ago."""


class Key(NamedTuple):
    """Where a text is kept: a purpose, and a secret of that purpose (a refresh token, say)."""

    purpose: str
    secret: str

    def __repr__(self) -> str:
        return f"Key({self.purpose!r})"


class Lease(Enum):
    """What came of trying to be the only one at something."""

    MINE = "mine"
    THEIRS = "theirs"
    UNSURE = "unsure"
    """Mine as far as this process knows; the others cannot be asked."""


class Shared(Protocol):
    """A memory of small texts, each kept for a given time."""

    def get(self, *keys: Key) -> list[str | None]:
        """The texts under some keys: None where there is none (any more)."""

    def put(self, key: Key, text: str, seconds: float) -> None:
        """Keep a text under a key for ``seconds``.

        Where processes that could not hear of each other put several, the greatest counts.
        """

    def lease(self, key: Key) -> AbstractContextManager[Lease]:
        """Be the only one at a key, among the processes that share this memory.

        Returns at once. It is kept for as long as the ``with`` block runs, and ends by
        itself soon after this process has died. Threads of one process keep themselves
        apart.
        """

    def remembers(self, seconds: float) -> bool:
        """Whether all that was put, and every lease, of the last ``seconds`` can be found.

        If not, another process may be at what this one has a lease for.
        """

    def healthy(self) -> bool:
        """Whether everybody who shares this memory is reached through it."""
