"""Sends the user's access token to the backend or to an API.

``request.backend`` and the proxy (:mod:`authapp.edge.proxy`) use these functions.
"""

import re
import time
from unicodedata import normalize

from authapp.backend.request_template import Text
from authapp.session.session import Session, TokenPair
from authapp.store.protocol import Key, Store


def authorization(setting: Text, tokens: TokenPair) -> str:
    """Return the ``Authorization`` header with an access token.

    :param setting: the setting ``backend.authorization``, such as ``Bearer {access}``.
    :param tokens: the tokens of the session. The parameter is not a string, because an error
        tracker shows local variables. The ``repr`` of a ``TokenPair`` does not show the tokens.
    :raises ValueError: if a header cannot contain the token. The text does not contain the token.
    """
    if not re.fullmatch("[!-~]+", tokens.access):
        raise ValueError("the access token cannot be sent in a header")
    return setting.fill({"access": tokens.access}) or ""


def is_refused(store: Store, url: str, session: Session) -> bool:
    """Return True if the access token of a session was refused just after the session was renewed:
    see :func:`record_refused`.

    :param url: the URL of the backend or the API.
    """
    return store.get(_refused(url, session)) != [None]


def record_refused(store: Store, url: str, session: Session) -> None:
    """Record that the backend or an API refuses the access token of a session that was just
    renewed. A further renewal would not help.
    """
    left = session.validity.valid_until - time.time()
    store.put(_refused(url, session), "1", max(left, 1))


def _refused(url: str, session: Session) -> Key:
    return Key("refused access token", f"{url} {session.tokens.access}")


# "\0" stands for each character that is not printable. A server may drop it or stop reading there.
_DOT_SEGMENT = re.compile(r"(?:^|[/\\])[ \0]*\.[ \0]*(?:\.[ \0]*)?(?:[/\\;?#]|$|(?<=\0))")


def has_dot_segment(path: str) -> bool:
    """Return True if a server may read a segment of a path as ``.`` or ``..``.

    Servers differ, so this function also finds these variants of such a segment:

    - A backslash is before or after the segment, or ``;``, ``?`` or ``#`` follows it.
    - The segment contains spaces, or characters that are not printable.
    - A character is written as another one that Unicode maps to it (NFKC). An example is the
      full-width dot.

    :param path: the path without percent-encoding.
    """
    return _DOT_SEGMENT.search(re.sub("[^ -~]", _plain, path)) is not None


def _plain(found: re.Match[str]) -> str:
    # One character at a time, because the time to normalize a long text can be quadratic.
    return normalize("NFKC", found[0]) if found[0].isprintable() else "\0"
