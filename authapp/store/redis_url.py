"""Reads the URL of the store: one Redis, Sentinel, or a cluster.

The schemes are those of the package ``limits``. ``rediss`` in place of ``redis`` means TLS.

- ``redis://user:password@host:6379/0``
- ``redis+sentinel://user:password@host:26379,host2:26379/mymaster/0``
- ``redis+cluster://user:password@host:7000,host2:7000``

The query of the URL may contain options of redis-py, such as ``ssl_ca_certs``. Options that begin
with ``sentinel_`` are for the connections to Sentinel: ``sentinel_username``,
``sentinel_password``. The options for TLS (``ssl_…``) are used for both kinds of connections.
"""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis.connection import SSLConnection, parse_url

SENTINEL, CLUSTER = "sentinel", "cluster"

_URL = re.compile(
    rf"(?P<scheme>rediss?)(\+(?P<kind>{SENTINEL}|{CLUSTER}))?://(?P<hosts>[^/?#]*)(?P<rest>.*)",
    re.IGNORECASE,
)
"""Matches the URL of the store. ``urlsplit`` is not used: in newer versions of Python, it refuses
several hosts if one is an IPv6 address."""

_PORTS = {SENTINEL: 26379, CLUSTER: 6379}


@dataclass(frozen=True)
class RedisURL:
    """Where Redis is, and how to connect to it.

    :param kind: an empty string, ``sentinel`` or ``cluster``.
    :param hosts: pairs of host and port: of Sentinel, or of some nodes of a cluster. Empty for a
        single Redis, whose address is in ``options``.
    :param service: the name under which Sentinel knows the primary. Empty without Sentinel.
    :param tls: True if connections use TLS.
    :param options: the options of connections to Redis, as redis-py names them.
    :param sentinel_options: the options of connections to Sentinel.
    """

    kind: str
    hosts: tuple[tuple[str, int], ...]
    service: str
    tls: bool
    options: dict[str, Any] = field(repr=False)
    sentinel_options: dict[str, Any] = field(repr=False)


def read_url(url: str) -> RedisURL:
    """Parse the URL of a store.

    :raises ValueError: if the URL has none of the forms in the docstring of this module.
    """
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError("the scheme must be redis:// or rediss://, with +sentinel or +cluster")
    scheme, kind = found["scheme"].lower(), (found["kind"] or "").lower()
    parts = urlsplit(f"//host{found['rest']}")
    tls = scheme == "rediss"
    if not kind:
        options = parse_url(url)  # type: ignore[no-untyped-call]
        tls = options.pop("connection_class", None) is SSLConnection
        return RedisURL("", (), "", tls, options, {})
    credentials, _, netloc = found["hosts"].rpartition("@")
    hosts = []
    for each in netloc.split(","):
        host = urlsplit(f"//{each}")
        if not host.hostname:
            raise ValueError("a host is missing")
        hosts.append((host.hostname, host.port or _PORTS[kind]))
    service, _, database = parts.path.strip("/").partition("/")
    if kind == CLUSTER:
        service, database = "", service
    if (kind == SENTINEL and not service) or (database and not database.isdecimal()):
        raise ValueError("the path must be /name-of-the-primary/number-of-the-database")
    if kind == CLUSTER and int(database or 0):
        raise ValueError("a cluster has only the database 0")
    query = parse_qsl(parts.query)
    theirs = [(name, value) for name, value in query if name.startswith("sentinel_")]
    ours = [pair for pair in query if pair not in theirs]
    options = _read_options(ours)
    user, _, password = credentials.partition(":")
    words = {"username": unquote(user), "password": unquote(password)}
    options.update({name: word for name, word in words.items() if word})
    if kind == SENTINEL:
        options["db"] = int(database or 0)
    named = [pair for pair in ours if pair[0].startswith("ssl_")]
    named += [(name.removeprefix("sentinel_"), value) for name, value in theirs]
    return RedisURL(kind, tuple(hosts), unquote(service), tls, options, _read_options(named))


def _read_options(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Read options with the types that redis-py gives them."""
    options: dict[str, Any] = parse_url(f"redis://?{urlencode(pairs)}")  # type: ignore[no-untyped-call]
    return options
