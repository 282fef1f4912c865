"""Decides which caches may store a response (RFC 9111).

A shared cache stores a response for all users. It must not store a response that has a cookie or a
CSRF token, because it would give this cookie or token to other users.
"""

import re

from pyramid.response import Response

PRIVATE = "private, no-store"
"""The ``Cache-Control`` of a response that no cache may store."""

_FOR_SHARED_CACHES = ("-cache-control", "surrogate-control", "edge-control", "x-accel-expires")
"""The ends of the names of response headers that a shared cache obeys before ``Cache-Control``, in
lower case: ``CDN-Cache-Control`` (RFC 9213), ``Cloudflare-CDN-Cache-Control``,
``X-LiteSpeed-Cache-Control``, ``Akamai-Edge-Control`` and so on."""

_QUOTED = re.compile(r'"(?:[^"\\]|\\.?)*"?')
"""Matches a quoted string (RFC 9110 section 5.6.4), and also one that is not closed."""


def keep_private(response: Response) -> None:
    """Forbid all caches to store a response, whatever the view has set."""
    response.headers["Cache-Control"] = PRIVATE
    _remove_other_caching(response)


def keep_out_of_shared_caches(response: Response) -> None:
    """Forbid shared caches to store a response.

    If the view has set ``private`` or ``no-store`` in ``Cache-Control``, its value is kept, so that
    the view can allow the browser to store the response. But a value with ``public`` or
    ``s-maxage`` is replaced.
    """
    said = ", ".join(response.headers.getall("Cache-Control"))
    if said != PRIVATE and not (said and _keeps_out_shared_caches(said)):
        response.headers["Cache-Control"] = PRIVATE
    _remove_other_caching(response)


def _keeps_out_shared_caches(cache_control: str) -> bool:
    said = directives(cache_control)
    return not said.isdisjoint({"private", "no-store"}) and said.isdisjoint({"public", "s-maxage="})


def directives(cache_control: str) -> set[str]:
    """Return the names of the directives in a ``Cache-Control`` header, in lower case.

    The name of a directive with a value ends with ``=``. For example, the name of
    ``private="X-Name"`` is ``private=``. It differs from ``private``, because the directive
    concerns only one header of the response.
    """
    names = [each.partition("=") for each in _QUOTED.sub('""', cache_control).lower().split(",")]
    return {name.strip() + equals for name, equals, _ in names}


def is_for_shared_caches(header: str) -> bool:
    """Return True if a shared cache obeys a response header before ``Cache-Control``.

    :param header: the name of the response header.
    """
    return header.lower().endswith(_FOR_SHARED_CACHES)


def _remove_other_caching(response: Response) -> None:
    """Remove the headers that some caches obey instead of ``Cache-Control``."""
    names = [name.lower() for name, _ in response.headerlist]
    for name in names:
        if name == "expires" or name.endswith(_FOR_SHARED_CACHES):
            response.headers.pop(name, None)  # the name may be in the list twice
