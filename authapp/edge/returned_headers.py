"""Which headers of an API's response reach the browser, and which responses are refused.

An API behind the proxy decides about its own response only: not about the site, and not about the
servers in front of authapp.
"""

import re
from collections.abc import Iterable

from authapp.edge.identity_headers import plain
from authapp.web.caching import is_for_shared_caches

_NOT_RETURNED = re.compile(
    r"""
    # What browsers keep for the whole site:
    set-cookie2? | clear-site-data | (idp-signin-status | set-login) | (sec|secure)-session-.*
    | strict-transport-security | expect-ct | public-key-pins.* | alt-svc
    | nel | report-to | accept-ch.* | critical-ch | origin-agent-cluster
    | service-worker-allowed | use-as-dictionary | access-control-.*
    # What shared caches remove later (is_for_shared_caches: what they store):
    | surrogate-.* | (x-)?cache-tags? | .*-purge(-.*)?
    # What makes a server in front send another file, or treat authapp in another way:
    | .*send-?(temp-?)?file.* | .*reproxy.* | (x-)?(internal-redirect | offload | file)
    | x-(accel | appengine | cherokee | envoy | hiawatha | lighttpd | litespeed | lsws)-.*
    | (x-)?(do-)?(esi | ssi)(-.*)? | status
    # Who the user is:
    | x-auth-request-.*
    """,
    re.VERBOSE,
)

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_LENGTH = re.compile(r"[0-9]{1,18}")


def is_returned(name: str) -> bool:
    """Return True if the proxy passes a response header with this name on to the browser.

    The result is the same for all spellings of a name, such as ``X_Name`` and ``X-Name``
    (:func:`plain`).
    """
    name = plain(name)
    return not (_NOT_RETURNED.fullmatch(name) or is_for_shared_caches(name))


def fault(status: int, headers: Iterable[tuple[str, str]]) -> str:
    """Return what is wrong with the status or the headers of a response. Empty: nothing.

    A response is refused if the server and the browser could disagree about where its body ends
    (RFC 9112 section 6.3), or if it has a header that HTTP does not allow (RFC 9110 section 5.5).
    """
    if not 200 <= status <= 599:
        return "a status that HTTP does not define"
    lengths, codings = [], []
    for name, value in headers:
        if not (_TOKEN.fullmatch(name) and _VALUE.fullmatch(value)):
            return "a header that HTTP does not allow"
        if name.lower() == "content-length":
            lengths.append(value.strip(" \t"))
        elif name.lower() == "transfer-encoding":
            codings.append(value.lower())
    if codings and (lengths or codings != ["chunked"]):
        return "a Transfer-Encoding that is not chunked, or that has a Content-Length"
    if lengths and not (len(lengths) == 1 and _LENGTH.fullmatch(lengths[0])):
        return "a Content-Length that is not one number"
    return ""
