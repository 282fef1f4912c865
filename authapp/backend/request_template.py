"""Requests to the backend, written as HTTP in the ini file: contract section 7.

A template is text such as::

    POST /auth/login
    X-Forwarded-For: {address}
    email = {username}
    password = {password}

:func:`parse` checks the text at start-up. :meth:`RequestTemplate.fill` puts values into the
placeholders. Each value is encoded for its place: in JSON, in a form, in a header or in the path.
So a value cannot add a header, a field or a path segment. If a value cannot be sent unchanged,
:class:`CannotSend` is raised.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

PLACEHOLDERS = (
    "username",
    "password",
    "access",
    "refresh",
    "client_id",
    "client_secret",
    "scope",
    "address",
    "code",
    "state",
)
"""The names in braces that a request in a setting may contain."""

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
"""The HTTP methods that a request in a setting may have."""

FORM = "application/x-www-form-urlencoded"
"""The ``Content-Type`` of a request whose body is a form."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110 section 5.6.2
_HEADER = re.compile(rf"({_TOKEN}):[ \t]*(.*)")
_FIELD = re.compile(r"([^\s={}:]+)\s*=\s*(.*)")
_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|([{}])")
_NOT_OURS = {"connection", "content-length", "expect", "host", "te", "transfer-encoding", "upgrade"}
_IN_A_COOKIE = re.compile(r"[!#$%&'()*+\-./0-9:<=>?@A-Z\[\]^_`a-z{|}~]*")  # RFC 6265 4.1.1


class CannotSend(ValueError):
    """A value cannot be sent unchanged in its place. The error does not contain the value."""


@dataclass(frozen=True)
class Text:
    """A string with placeholders, divided into literal parts and placeholders."""

    pieces: tuple[tuple[str, str], ...]
    """Pairs of a literal and the name of the placeholder after it. The last name is always ""."""

    @property
    def placeholders(self) -> frozenset[str]:
        """The names of the placeholders in this text."""
        return frozenset(name for _, name in self.pieces if name)

    def fill(self, values: Mapping[str, str | None], encode: Any = str) -> str | None:
        """Return the string with values, or None if a placeholder has no value.

        :param encode: a function that encodes each value.
        """
        filled = ""
        for literal, name in self.pieces:
            filled += literal
            if name:
                value = values.get(name)
                if value is None:
                    return None
                filled += encode(value)
        return filled


@dataclass(frozen=True)
class FilledRequest:
    """A request that is ready to be sent.

    ``path`` contains the query, and both are encoded. ``shown`` is for the log: the method and the
    path, with placeholders instead of values.
    """

    method: str
    path: str
    headers: Mapping[str, str | bytes]
    body: bytes | None
    shown: str


@dataclass(frozen=True)
class RequestTemplate:
    """One request to the backend."""

    method: str
    path: Text
    headers: tuple[tuple[str, Text], ...]
    fields: tuple[tuple[tuple[str, ...], Text], ...]
    content_type: str
    shown: str
    """Method and path with the placeholders, for the log."""

    @property
    def placeholders(self) -> frozenset[str]:
        """The names of all placeholders in this request."""
        texts = [self.path, *(text for _, text in self.headers), *(text for _, text in self.fields)]
        return frozenset().union(*(text.placeholders for text in texts))

    def fill(self, values: Mapping[str, str | None]) -> FilledRequest:
        """Return the request with values in its placeholders.

        A header or field whose placeholder has no value (None) is left out.

        :raises CannotSend: if a value cannot be sent unchanged in its place.
        """
        path = self.path.fill(values, _in_a_path)
        if path is None:
            raise CannotSend("the path has a placeholder without a value")
        if not {".", ".."}.isdisjoint(path.partition("?")[0].split("/")):
            raise CannotSend("a path segment would be . or ..")
        headers: dict[str, str | bytes] = {}
        for name, text in self.headers:
            encode = _in_a_cookie if name.lower() == "cookie" else _in_a_header
            value = text.fill(values, encode)
            if value is not None:
                # http.client would write a string in latin-1, or fail.
                headers[name] = value if value.isascii() else value.encode()
        fields = [
            (name, value) for name, text in self.fields if (value := text.fill(values)) is not None
        ]
        body = None
        if fields and self.method == "GET":
            path += ("&" if "?" in path else "?") + _form(fields)
        elif fields:
            body = (_form(fields) if self.content_type == FORM else _json(fields)).encode()
            headers["Content-Type"] = self.content_type
        return FilledRequest(self.method, path, headers, body, self.shown)


def parse(text: str) -> RequestTemplate | None:
    """Read a request as it is written in the ini file.

    :returns: the template, or None for ``none``: the backend has no such request.
    :raises ValueError: if a line is wrong. The error names the line, and says what is allowed.
    """
    first, *lines = [line.strip() for line in text.strip().splitlines()]
    if first.lower() == "none" and not lines:
        return None
    method, _, path = first.partition(" ")
    if method not in METHODS or not path.strip():
        raise ValueError(
            f"the first line must be a method ({', '.join(METHODS)}) and a path, or none;"
            f" it is {first!r}"
        )
    path = path.strip()
    if not re.fullmatch(r"/(?!/)[!-~]*", path) or {"\\", "#"} & set(path):
        raise ValueError(f"the path must begin with one / and have no blanks; it is {path!r}")
    headers: dict[str, tuple[str, Text]] = {}
    fields: dict[tuple[str, ...], Text] = {}
    for line in filter(None, lines):
        at = {mark: line.find(mark) for mark in ":=" if mark in line}
        is_header = at and min(at, key=lambda mark: at[mark]) == ":"
        match = (_HEADER if is_header else _FIELD).fullmatch(line)
        if match is None:
            raise ValueError(f"a line must be Name: value or name = value; one is {line!r}")
        name, value = match[1], _text(match[2], line)
        if is_header:
            if name.lower() in _NOT_OURS:
                raise ValueError(f"the header {name} is set by the HTTP client")
            if name.lower() in headers:
                raise ValueError(f"the header {name} is there twice")
            headers[name.lower()] = name, value
        else:
            _add_field(fields, tuple(name.split(".")), value, name)
    content_type = "application/json"
    if "content-type" in headers:
        _, given = headers.pop("content-type")
        content_type = given.fill({}) or ""
        kind = content_type.partition(";")[0].strip().lower()
        if kind == FORM:
            content_type = FORM
        elif kind != "application/json" and not kind.endswith("+json"):
            raise ValueError(f"Content-Type must be application/json or {FORM}")
    if content_type == FORM or method == "GET":
        fields = {(".".join(name),): value for name, value in fields.items()}
    return RequestTemplate(
        method,
        _text(path, first),
        tuple(headers.values()),
        tuple(fields.items()),
        content_type,
        f"{method} {path.partition('?')[0]}",
    )


def _add_field(
    fields: dict[tuple[str, ...], Text], parts: tuple[str, ...], value: Text, name: str
) -> None:
    if not all(parts):
        raise ValueError(f"the field {name!r} has an empty part")
    for other in fields:
        shorter = min(len(other), len(parts))
        if other[:shorter] == parts[:shorter]:
            raise ValueError(f"the field {name} is there twice, or is both a value and an object")
    fields[parts] = value


def parse_text(text: str) -> Text:
    """Read a string with placeholders.

    :raises ValueError: for an unknown placeholder, or a brace that is not closed.
    """
    return _text(text, text)


def _text(text: str, line: str) -> Text:
    """Read a string with placeholders. ``{{`` stands for ``{``, and ``}}`` for ``}``.

    :param line: the line of the setting that contains the string. A ``ValueError`` shows it.
    """
    pieces: list[tuple[str, str]] = []
    literal, end = "", 0
    for match in _PIECE.finditer(text):
        literal += text[end : match.start()]
        end = match.end()
        if match[0] in ("{{", "}}"):
            literal += match[0][0]
        elif match[0] == "}":
            literal += "}"
        elif match[0] == "{":
            raise ValueError(f"a brace is not closed in {line!r}; {{{{ is a brace")
        elif match[1] not in PLACEHOLDERS:
            known = ", ".join(f"{{{each}}}" for each in PLACEHOLDERS)
            raise ValueError(f"unknown placeholder {match[0]} in {line!r}; there are {known}")
        else:
            pieces.append((literal, match[1]))
            literal = ""
    return Text((*pieces, (literal + text[end:], "")))


def _in_a_path(value: str) -> str:
    """Encode a value as a part of one path segment (RFC 3986 section 3.3)."""
    try:
        return quote(value, safe="")
    except UnicodeEncodeError:
        raise CannotSend("a value has a lone surrogate") from None


def _in_a_header(value: str) -> str:
    """Return a value that is safe in a header field (RFC 9110 section 5.5)."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise CannotSend("a value has a lone surrogate") from None
    if any(ord(each) < 0x20 or ord(each) == 0x7F for each in value) or value != value.strip():
        raise CannotSend("a value has a control character, or a blank at its ends")
    return value


def _in_a_cookie(value: str) -> str:
    if not _IN_A_COOKIE.fullmatch(value):
        raise CannotSend("a value has a character that no cookie can have")
    return value


def _form(fields: list[tuple[tuple[str, ...], str]]) -> str:
    try:
        return urlencode([(".".join(name), value) for name, value in fields])
    except UnicodeEncodeError:
        raise CannotSend("a value has a lone surrogate") from None


def _json(fields: list[tuple[tuple[str, ...], str]]) -> str:
    body: dict[str, Any] = {}
    for (*parents, last), value in fields:
        inner = body
        for name in parents:
            inner = inner.setdefault(name, {})
        inner[last] = value
    return json.dumps(body)
