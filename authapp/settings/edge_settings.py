"""The settings of :mod:`authapp.edge`: contract section 11."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from authapp.backend.expressions import Condition, expression
from authapp.settings import allowed_values as values
from authapp.settings.ini import Ini


@dataclass(frozen=True)
class EdgeSettings:
    """The settings of the optional room ``edge``. Durations are in seconds.

    :param verify: True if authapp has the route ``/verify``.
    :param hosts: hosts in lower case, such as ``app.example.com`` or ``app.example.com:8443``. A
        user may return to a page on these hosts after signing in.
    :param login: the URL of the sign-in page, if the page is on another host than the requests that
        ``/verify`` checks. Otherwise None.
    :param token: True if ``/verify`` returns the access token.
    :param upstreams: pairs of a path prefix and the base URL of an API. The proxy passes requests
        below the prefix on to this API.
    :param proxy_timeout: the longest time of each single wait of the proxy, such as the wait for a
        connection or for a part of a body.
    :param proxy_bulkhead: the most requests that a process passes on to one API at the same time.
    :param bearer: True if programs may send access tokens in ``Authorization``.
    :param bearer_accepted: the condition for such a token: see
        :meth:`authapp.backend.token_reader.TokenReader.bearer`.
    """

    verify: bool
    hosts: tuple[str, ...]
    login: str | None
    token: bool
    upstreams: tuple[tuple[str, str], ...]
    proxy_timeout: float
    proxy_bulkhead: int
    bearer: bool
    bearer_accepted: Condition | None


def read_edge(reader: Ini, development: bool, private: bool) -> EdgeSettings:
    """Read the settings of the room ``edge``.

    :param reader: gives the text of each setting, and collects the problems.
    :param development: ``authapp.development``. True allows http.
    :param private: ``authapp.backend.private_network``. True allows http for the APIs.
    """
    take = reader.take
    no_hosts: tuple[str, ...] = ()
    no_upstreams: tuple[tuple[str, str], ...] = ()
    hosts = take("verify.hosts", _hosts, no_hosts)
    token = take("verify.token", values.boolean, False)
    login = take("verify.login", _login(development), None)
    reader.needs("verify.login", "verify.hosts")
    upstreams = take("proxy", _upstreams(development or private), no_upstreams)
    timeout = take("proxy.timeout", values.decimal(0.05, 3_600), 30.0)
    bulkhead = take("proxy.bulkhead", values.count, 3)
    for key in ("timeout", "bulkhead"):
        reader.needs(f"proxy.{key}", "proxy")
    bearer = take("api_bearer", values.boolean, False)
    if bearer:
        for key in ("api_prefixes", "backend.verify", "backend.issuer", "backend.audience"):
            if not reader.has(key):
                reader.problem(f"authapp.api_bearer needs authapp.{key}")
    accepted = take("api_bearer.accepted", _accepted, None)
    reader.needs("api_bearer.accepted", "api_bearer")
    return EdgeSettings(
        verify=take("verify", values.boolean, bool(hosts) or token),
        hosts=hosts,
        login=login,
        token=token,
        upstreams=upstreams,
        proxy_timeout=timeout,
        proxy_bulkhead=bulkhead,
        bearer=bearer,
        bearer_accepted=accepted,
    )


def _hosts(text: str) -> tuple[str, ...]:
    hosts = values.words(text.lower())
    for host in hosts:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[1-9][0-9]{0,4})?", host):
            raise ValueError("must be hosts such as app.example.com or app.example.com:8443")
    return hosts


def _accepted(text: str) -> Condition:
    return Condition(expression(text))


def _login(development: bool) -> Callable[[str], str]:
    def read(text: str) -> str:
        return values.url(text, development, "a URL such as https://auth.example.com/login")

    return read


def _upstreams(http: bool) -> Callable[[str], tuple[tuple[str, str], ...]]:
    def read(text: str) -> tuple[tuple[str, str], ...]:
        found: dict[str, str] = {}
        for line in filter(None, map(str.strip, text.splitlines())):
            prefix, _, url = (part.strip() for part in line.partition("="))
            if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", prefix) or {".", ".."} & set(
                prefix.split("/")
            ):
                raise ValueError("must be lines such as /api = https://api.example.com/v1")
            if prefix in found:
                raise ValueError(f"two lines have the prefix {prefix}")
            found[prefix] = values.url(url, http, "lines such as /api = https://api.example.com/v1")
        # The longest prefix comes first, since the first route that matches is used.
        return tuple(sorted(((p, u.rstrip("/")) for p, u in found.items()), reverse=True))

    return read
