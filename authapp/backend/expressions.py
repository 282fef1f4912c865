"""Expressions that read the backend's responses or claims: JMESPath, compiled at start-up.

An expression gets a response as the object ``{status, headers, cookies, body}`` of contract
section 7. An expression returns a value or None, and never raises an exception.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jmespath
import jmespath.functions
from jmespath.exceptions import JMESPathError, ParseError

from authapp.session.claims import refuse_constant

Response = Mapping[str, Any]
"""``{status, headers, cookies, body}``."""


class _Functions(jmespath.functions.Functions):  # type: ignore[misc]
    @jmespath.functions.signature({"types": ["string"]}, {"types": ["string"]})  # type: ignore[untyped-decorator]
    def _func_split(self, text: str, separator: str) -> list[str]:
        parts = text.split(separator) if separator else [text]
        return [part.strip() for part in parts]


_OPTIONS = jmespath.Options(custom_functions=_Functions())


@dataclass(frozen=True)
class Expression:
    """A compiled JMESPath expression."""

    source: str
    _compiled: Any = field(repr=False, compare=False)

    def __call__(self, value: object) -> Any:
        """Return what the expression finds in a value. None if the expression cannot be applied."""
        try:
            return self._compiled.search(value, options=_OPTIONS)
        except (JMESPathError, ValueError, TypeError, RecursionError, OverflowError):
            return None


@dataclass(frozen=True)
class Condition:
    """An expression that is true or false, or a list of statuses."""

    expression: Expression | None
    statuses: frozenset[int] = frozenset()

    def __call__(self, response: Response) -> bool:
        """Return True if the condition is true for a response."""
        if self.expression is None:
            return response.get("status") in self.statuses
        # JMESPath: null, false and what is empty are false; zero is true.
        found = self.expression(response)
        return found is not None and found is not False and found not in ("", [], {})


_COOKIE_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # a token: RFC 9110 section 5.6.2
_ESCAPE = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))", re.DOTALL)

NEVER = Condition(None)
"""A condition that is false for every response."""


def expression(text: str) -> Expression:
    """Compile an expression.

    :raises ValueError: if the text is not an expression. The error names the position.
    """
    try:
        compiled = jmespath.compile(text)
        for name in _functions_called(compiled.parsed):
            if name not in _OPTIONS.custom_functions.FUNCTION_TABLE:
                raise ValueError(f"must be JMESPath; there is no function {name}")
        return Expression(text, compiled)
    except ParseError as error:
        raise ValueError(f"must be JMESPath; it fails at character {error.lex_position}") from None
    except RecursionError:
        raise ValueError("must be JMESPath; it is nested too deeply") from None


def _functions_called(node: Any) -> Iterator[str]:
    """Return the names of the functions in a syntax tree of JMESPath."""
    if isinstance(node, dict):
        if node.get("type") == "function_expression":
            yield node["value"]
        for child in node.get("children", ()):
            yield from _functions_called(child)


def condition(text: str) -> Condition:
    """Read a condition: JMESPath, a list of statuses such as ``400 401``, or ``none``.

    :raises ValueError: if the text is none of these.
    """
    if text.strip().lower() == "none":
        return NEVER
    if re.fullmatch(r"[1-5]\d\d([\s,]+[1-5]\d\d)*", text.strip()):
        return Condition(None, frozenset(map(int, re.findall(r"\d+", text))))
    return Condition(expression(text))


def read_response(
    status: int, headers: Mapping[str, str], set_cookies: list[str], body: bytes
) -> Response:
    """Return a response as the object that expressions read.

    :param set_cookies: the values of the ``Set-Cookie`` headers of the response.
    """
    text = body.decode(errors="replace")
    try:
        content: Any = json.loads(text, parse_constant=refuse_constant)
        json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        content = text
    return {
        "status": status,
        "headers": {name.lower(): value for name, value in headers.items()},
        "cookies": _cookies(set_cookies),
        "body": content,
    }


def _cookies(set_cookies: list[str]) -> dict[str, str]:
    """Read the names and values of cookies (RFC 6265 section 5.2), in linear time.

    A cookie without a valid name is left out. The quotes around a value are removed, and backslash
    escapes in quotes are decoded, as :mod:`http.cookies` writes them.
    """
    found: dict[str, str] = {}
    for each in set_cookies:
        name, _, value = (part.strip() for part in each.partition(";")[0].partition("="))
        if _COOKIE_NAME.fullmatch(name):
            quoted = len(value) > 1 and value[0] == value[-1] == '"'
            found[name] = _ESCAPE.sub(_unescaped, value[1:-1]) if quoted else value
    return found


def _unescaped(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 8)) if escape[1] else escape[2]
