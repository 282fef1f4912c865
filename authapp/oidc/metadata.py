"""The provider's metadata: OpenID Connect Discovery 1.0, and RFC 8414."""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from authapp.backend.bulkhead import Bulkhead
from authapp.backend.http_client import BoundedSession
from authapp.backend.http_exchange import fetch_object
from authapp.backend.key_set import KeySet
from authapp.backend.protocol import BackendDown, BackendUnavailable, CallNotPermitted
from authapp.request_log import request_log
from authapp.session.claims import text
from authapp.settings.allowed_values import url

log = request_log(__name__)

FRESH = 3600.0
"""Seconds after which the metadata is read again."""

RETRY = 1.0
"""Seconds after a failure until the metadata is read again. If good metadata is cached, the time is
60 times as long."""

_PATH = "/.well-known/openid-configuration"
_REQUIRED = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_OPTIONAL = ("userinfo_endpoint", "revocation_endpoint", "end_session_endpoint")


class ProviderUnusable(BackendUnavailable):
    """A sign-in is not possible because of the provider, or of this site's registration there.

    The text is one line for the operator, and names the setting to change.
    """


@dataclass(frozen=True)
class Endpoints:
    """The parts of the metadata that authapp uses. A missing endpoint is None.

    :param names_itself: True if the provider sends the parameter ``iss`` with every callback (RFC
        9207 section 3).
    """

    authorization: str
    token: str
    userinfo: str | None
    revocation: str | None
    end_session: str | None
    names_itself: bool
    keys: KeySet


class Metadata:
    """Reads the metadata of one issuer, and caches the metadata.

    One request at a time reads the metadata. Meanwhile, other requests use the cached metadata, or
    wait if there is none. If the provider is slow, they stop waiting, so that a provider that does
    not respond blocks only one thread. If the metadata cannot be read again, the last good metadata
    is used.

    :param issuer: the issuer identifier.
    :param development: True to allow endpoints with http URLs even if the URL of the issuer is
        https.
    :param clock: returns seconds and never goes back.
    """

    def __init__(
        self,
        session: BoundedSession,
        issuer: str,
        development: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.issuer = issuer
        self._session = session
        self._http = development or issuer.startswith("http:")
        self._clock = clock
        self._lock = threading.Lock()
        self._bulkhead = Bulkhead(1)
        self._reading: Future[None] | None = None
        self._known: tuple[Mapping[str, Any], Endpoints] | None = None
        self._read_again = float("-inf")
        self._failure: BackendUnavailable | None = None

    def endpoints(self) -> Endpoints:
        """Return the endpoints.

        As soon as good metadata has been read, this method raises no more errors.

        :raises ProviderUnusable: if the metadata does not allow a sign-in.
        :raises BackendUnavailable: if the metadata cannot be read.
        """
        known = self._known
        if known is None or self._clock() >= self._read_again:
            self._look_again(must_wait=known is None)
            known = self._known
        if known is not None:
            return known[1]
        raise self._failure or BackendDown("the provider's metadata is still being read")

    def _look_again(self, *, must_wait: bool) -> None:
        """Read the metadata, unless another request is reading it or has just tried.

        :param must_wait: True if there is no cached metadata to use in the meantime.
        """
        with self._lock:
            reading = self._reading
            if reading is None:
                if self._clock() < self._read_again:
                    return
                mine = self._reading = Future()
        if reading is not None:
            if must_wait:
                self._bulkhead.wait_for(reading, self._session.timeout)
            return
        try:
            with suppress(CallNotPermitted), self._bulkhead.call():
                self._read()
        finally:
            with self._lock:
                self._reading = None
            mine.set_result(None)

    def _read(self) -> None:
        began = self._clock()
        try:
            found = fetch_object(self._session, self.issuer.rstrip("/") + _PATH)
            before = self._known
            # The key set is kept with its keys, unless it has moved.
            same = before is not None and before[0].get("jwks_uri") == found.get("jwks_uri")
            keys = before[1].keys if before is not None and same else None
            self._known = found, self._endpoints(found, keys)
            self._failure, wait = None, FRESH
            self._bulkhead.times.answered(self._clock() - began)
        except BackendUnavailable as error:
            self._failure, wait = error, RETRY if self._known is None else 60 * RETRY
            log.error("ProviderUnavailable: metadata of %s: %s", self.issuer, error.reason)
        self._read_again = self._clock() + wait

    def _endpoints(self, found: Mapping[str, Any], keys: KeySet | None) -> Endpoints:
        """Check the metadata (Discovery section 4.3).

        :raises ProviderUnusable: with one line that says what is wrong.
        """
        if found.get("issuer") != self.issuer:
            named = text(found.get("issuer")) or "no issuer"
            raise ProviderUnusable(
                f"the metadata names the issuer {named[:200]!r}; set authapp.oidc.issuer to exactly"
                " that, if it is right"
            )
        urls = {name: self._url(name, found.get(name)) for name in (*_REQUIRED, *_OPTIONAL)}
        for name in _REQUIRED:
            if urls[name] is None:
                raise ProviderUnusable(f"the metadata has no {name}")
        methods = found.get("code_challenge_methods_supported")
        # Some providers support PKCE and do not say so. But a list without S256 means no support.
        if isinstance(methods, list) and "S256" not in methods:
            raise ProviderUnusable(
                "the provider does not support PKCE with S256: switch it on there for this client"
            )
        return Endpoints(
            authorization=str(urls["authorization_endpoint"]),
            token=str(urls["token_endpoint"]),
            userinfo=urls["userinfo_endpoint"],
            revocation=urls["revocation_endpoint"],
            end_session=urls["end_session_endpoint"],
            names_itself=found.get("authorization_response_iss_parameter_supported") is True,
            keys=keys or KeySet(self._session, str(urls["jwks_uri"])),
        )

    def _url(self, name: str, value: object) -> str | None:
        """Return an endpoint, or None if the metadata has no such endpoint.

        :raises ProviderUnusable: if the endpoint is not a usable URL.
        """
        if value is None:
            return None
        try:
            # An endpoint may have a query (RFC 6749 section 3.1), but url() allows no query.
            address, _, query = str(value).partition("?")
            url(address, self._http, "an https URL")
            if not query.isascii() or not query.isprintable() or set(query) & set(" #\\"):
                raise ValueError("must be an https URL")
        except ValueError as error:
            raise ProviderUnusable(f"{name} of the metadata {error}") from None
        return str(value)
