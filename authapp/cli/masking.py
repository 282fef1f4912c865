"""Masks tokens, passwords and secrets in requests and responses, so that these can be shown."""

import json
import re
from collections.abc import Collection, Iterable
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

from authapp.backend.http_exchange import in_one_line

HIDDEN = "***"
"""The text that is shown in place of a secret."""

_SECRET_NAME = re.compile(
    r"token|secret|passw|access|refresh|jwt|key|session|auth|cookie|otp", re.IGNORECASE
)
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,40}/[\w.+-]{1,60}(; ?charset=[\w-]{1,20})?", re.ASCII)
_PERHAPS_TOKEN = re.compile(r"(?!\d{4}-\d\d-\d\d)(?=.*\d)(?=.*[A-Za-z])[!-?A-~]{16,}")
_MOST = 50
_DEEPEST = 8


def mask_header(name: str, value: str, secrets: Collection[str]) -> str:
    """Return the text to show for the value of a header: a value that may be secret is masked."""
    low = name.lower()
    if low == "set-cookie":
        return f"{in_one_line(value.partition('=')[0])}={HIDDEN}"
    if low in ("authorization", "www-authenticate"):
        return f"{in_one_line(value.partition(' ')[0])} {HIDDEN}"
    if low == "content-type" and _MEDIA_TYPE.fullmatch(value):
        return value
    if low == "location":
        return mask_url(value, secrets)
    return mask_text(value, secrets) if low == "retry-after" else HIDDEN


def mask_url(url: str, secrets: Collection[str]) -> str:
    """Return the text to show for a URL. Secrets in its path and its query are masked."""
    parts = urlsplit(url)
    path = "/".join(mask_text(unquote(each), secrets) for each in parts.path.split("/"))
    query = "&".join(
        f"{name}={_mask({name: value}, secrets, True, 0).popitem()[1]}"
        for name, value in parse_qsl(parts.query)
    )
    host = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else ""
    return f"{host}{path}{'?' if query else ''}{query}"


def mask_text(text: str, secrets: Collection[str]) -> str:
    """Return a text as one line. Secrets, and words that look like a token, are replaced."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        for form in (secret, json.dumps(secret)[1:-1], quote(secret, ""), quote_plus(secret)):
            text = text.replace(form, HIDDEN)
    return in_one_line(text)


def mask_body(body: str, secrets: Collection[str], *, names: bool = True) -> Any:
    """Return a body as JSON in which secrets are replaced.

    :param body: the text of the body: JSON, a form, or any other text.
    :param secrets: values that must not be shown.
    :param names: True to replace also strings whose name sounds secret. False keeps an error such
        as ``{"password": "too short"}`` readable.
    :returns: the JSON, the fields of the form, or the text to show.
    """
    try:
        return _mask(json.loads(body), secrets, names, 0)
    except (ValueError, RecursionError):
        pass
    fields = parse_qsl(body, keep_blank_values=True) if re.fullmatch(r"[!-~]*=[!-~]*", body) else []
    return _mask(dict(fields), secrets, names, 0) if fields else mask_text(body, secrets)


def _mask(value: Any, secrets: Collection[str], names: bool, depth: int) -> Any:
    if depth > _DEEPEST:
        return "…"
    if isinstance(value, dict):
        return {
            in_one_line(str(name)): HIDDEN
            if names and isinstance(each, str) and _sounds_secret(str(name), each)
            else _mask(each, secrets, names, depth + 1)
            for name, each in _first(value.items())
        }
    if isinstance(value, list):
        return [_mask(each, secrets, names, depth + 1) for each in _first(value)]
    return mask_text(value, secrets) if isinstance(value, str) else value


def _sounds_secret(name: str, value: str) -> bool:
    return bool(_SECRET_NAME.search(name) or _PERHAPS_TOKEN.fullmatch(value))


def _first(values: Iterable[Any]) -> list[Any]:
    return list(values)[:_MOST]
