"""The backend's public keys: a JWKS document (RFC 7517), which is read on demand and cached."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

import jwt

from authapp.backend.bulkhead import Bulkhead
from authapp.backend.http_client import BoundedSession
from authapp.backend.http_exchange import fetch_object
from authapp.backend.protocol import BackendDown, BackendUnavailable
from authapp.request_log import request_log

log = request_log(__name__)

KEYS_FRESH = 3600
"""Seconds after which the key set is stale. A stale key set is read again for the next token."""

KEYS_RETRY = 60
"""The shortest time in seconds between two attempts to read the key set for the same reason. There
are two reasons: the key set is stale, or a token names an unknown key."""

KEYS_LOST = 86_400
"""If the key set cannot be read again, the cached keys are used until this many seconds after they
were read."""


class KeySet:
    """The keys of one JWKS document. If a token names an unknown key, the document is read again.

    One request at a time reads the document. Meanwhile other requests use the cached keys. Only
    requests whose key is unknown wait for the new keys. If the server is slow, only one of them
    continues to wait: the one that has the slot of a :class:`authapp.backend.bulkhead.Bulkhead`.

    :param session: the HTTP session that reads the document. Its timeout also limits the time for
        which a request waits until another request has read the document.
    :param url: the URL of the document.
    :param clock: returns seconds and never goes back.
    """

    def __init__(
        self,
        session: BoundedSession,
        url: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._url = url
        self._bulkhead = Bulkhead(1)
        self._clock = clock
        self._lock = threading.Lock()
        self._reading: Future[None] | None = None
        self._keys: dict[str, jwt.PyJWK] = {}
        self._good_at = float("-inf")
        self._tried_at = {"stale": self._good_at, "unknown": self._good_at}

    def key(self, kid: str | None) -> jwt.PyJWK:
        """Return the public key that verifies a token.

        :param kid: the key id in the header of the token. If ``kid`` is None and the key set has
            only one key, that key is returned.
        :raises BackendUnavailable: if the key set has no such key or cannot be read.
        """
        if not self._fresh or self._find(kid) is None:
            self._look_again(kid)
        key = self._find(kid)
        if key is None:
            raise BackendUnavailable("the key set has no key for a token")
        return key

    @property
    def readable(self) -> bool:
        """True if the last attempt to read the key set succeeded."""
        return self._good_at >= max(self._tried_at.values())

    @property
    def _fresh(self) -> bool:
        return self._clock() - self._good_at < KEYS_FRESH

    def _find(self, kid: str | None) -> jwt.PyJWK | None:
        if self._clock() - self._good_at >= KEYS_LOST:
            return None
        if kid is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(kid)

    def _look_again(self, kid: str | None) -> None:
        """Read the key set, unless another request is reading or has just read the key set."""
        with self._lock:
            # An unknown key causes a reading at once, but only one reading in KEYS_RETRY seconds.
            why = "unknown" if self._fresh else "stale"
            reading = self._reading
            if reading is None:
                if self._fresh and self._find(kid) is not None:
                    return  # another request has just read the key set
                if self._clock() - self._tried_at[why] < KEYS_RETRY:
                    return
                mine = self._reading = Future()
        if reading is not None:
            if self._find(kid) is None:
                self._bulkhead.wait_for(reading, self._session.timeout)
            return
        try:
            with suppress(BackendDown), self._bulkhead.call():
                self._tried_at[why] = self._clock()
                self._read()
        finally:
            with self._lock:
                self._reading = None
            mine.set_result(None)

    def _read(self) -> None:
        """Read the public keys. If that fails, keep the cached keys."""
        began = self._clock()
        try:
            entries = fetch_object(self._session, self._url).get("keys")
        except BackendUnavailable as error:
            log.warning("KeySetUnavailable: %s", error.reason)
            return
        keys = {key.key_id or "": key for key in public_keys(entries)}
        if keys:
            self._keys, self._good_at = keys, began
            self._bulkhead.times.answered(self._clock() - began)
        else:
            log.warning("KeySetUnavailable: the key set contains no public key")


def public_keys(entries: object) -> list[jwt.PyJWK]:
    """Return the keys that can verify a token. Entries of any other kind are left out.

    :param entries: the member ``keys`` of a key set (RFC 7517 section 5.1).
    """
    found = map(_public_key, entries if isinstance(entries, list) else ())
    return [key for key in found if key is not None]


def _public_key(entry: object) -> jwt.PyJWK | None:
    """Return the public key in an entry of a key set, or None for any other entry."""
    if not isinstance(entry, dict) or entry.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    if "d" in entry or entry.get("use", "sig") != "sig":
        return None
    if not isinstance(entry.get("kid") or "", str):
        return None
    try:
        return jwt.PyJWK(entry)
    except Exception as error:  # the other keys can be used, whatever the error is
        log.warning("KeySetUnavailable: an invalid key: %s", type(error).__name__)
        return None
