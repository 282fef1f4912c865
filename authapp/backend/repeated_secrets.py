"""Finds a secret in what the backend has said, in any usual encoding.

A backend may repeat what authapp has sent: "no user with my+pass+word", for example. The log and
the sign-in page show the words of the backend, and must not show a part of a secret.

Each decoder decodes one encoding, wherever it occurs in a text. The text is searched as it is, and
after each chain of decoders, because encodings are often nested. For example, a form may contain
base64.
"""

import html
import re
import unicodedata
from base64 import b64decode
from collections.abc import Callable, Collection, Iterator

_PART = 8  # threat L1: a longer part of a secret must not be readable
_LEAST = 4  # a shorter secret is in many texts by chance
_MAX_CHAIN = 4
_MAX_TEXTS = 50
"""How many decoded texts are searched. This bounds the time for one text."""

_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
"""Letters, marks and symbols that have no shape."""

_PERCENT = re.compile("%u([0-9a-f]{4})|%([0-9a-f]{2})", re.IGNORECASE)
_BACKSLASH = re.compile(
    r"\\(?:U([0-9a-fA-F]{8})|[uU]([0-9a-fA-F]{4})|[uU]\{([0-9a-fA-F]{1,6})\}|[xX]([0-9a-fA-F]{2})"
    r"|([0-7]{1,3})|[abfnrtv]|(.))",
    re.DOTALL,
)
_HEX = re.compile("[0-9a-fA-F]{2}(?:[ :-]?[0-9a-fA-F]{2}){3,}")
_BASE64 = re.compile("[A-Za-z0-9+/_-]{6,}")
_URL_SAFE = str.maketrans("-_", "+/")
_UTF_8 = re.compile("[\xc2-\xf4][\x80-\xbf]{1,3}")
_READABLE = re.compile("[^\0-\x1f\x7f-\x9f\ufffd]{3}")


def repeats(text: str, secrets: Collection[str]) -> bool:
    """Return True if a text contains a secret, or eight consecutive characters of a secret.

    Upper and lower case, white space and invisible characters make no difference. A secret of fewer
    than four characters is not looked for, because many texts contain it by chance.
    """
    plain = _parts(map(_caseless, secrets))
    bare = _parts(map(_bare, secrets))
    return any(
        _contains(_caseless(form), plain) or _contains(_bare(form), bare)
        for each in _decoded(text)
        for form in {_joined(each), _joined(_UTF_8.sub(_character, each))}
    )


def printable(text: str) -> str:
    """Return a text with a space in place of each character that has no shape.

    Such characters are control characters, line breaks, invisible characters, and marks that change
    the direction of the text.
    """
    return "".join(c if c.isprintable() else " " for c in _INVISIBLE.sub(" ", text))


def _parts(secrets: Iterator[str]) -> dict[int, set[str]]:
    """Return the parts of secrets that a text must not contain, by the length of the parts."""
    parts: dict[int, set[str]] = {}
    for secret in secrets:
        size = min(len(secret), _PART)
        if size >= _LEAST:
            found = (secret[at : at + size] for at in range(len(secret) - size + 1))
            parts.setdefault(size, set()).update(found)
    return parts


def _contains(text: str, parts: dict[int, set[str]]) -> bool:
    return any(
        not found.isdisjoint(text[at : at + size] for at in range(len(text) - size + 1))
        for size, found in parts.items()
    )


def _caseless(text: str) -> str:
    """Return a text without the difference between upper and lower case.

    ``casefold`` alone keeps "i" and the i without a dot apart. The upper case of both is "I".
    """
    return text.upper().casefold()


def _bare(text: str) -> str:
    """Return a text in lower case, without spaces, ``+`` and backslashes.

    Other shapes of a character, such as full-width letters, become the usual character.
    """
    text = printable(_caseless(unicodedata.normalize("NFKC", text)))
    return text.translate({ord(each): None for each in " +\\"})


def _decoded(text: str) -> Iterator[str]:
    """Yield a text, and what each chain of decoders makes of it."""
    seen, latest = {text}, [text]
    yield text
    for _ in range(_MAX_CHAIN):
        found = dict.fromkeys(decode(each) for each in latest for decode in _DECODERS)
        latest = [each for each in found if each not in seen][: _MAX_TEXTS - len(seen)]
        seen.update(latest)
        yield from latest


def _character(found: re.Match[str]) -> str:
    """Decode a UTF-8 sequence in which each byte is written as one character, such as "Ã¤"."""
    return found[0].encode("latin-1").decode("utf-8", "replace")


def _joined(text: str) -> str:
    """Return a text with each pair of surrogates joined to one character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _percent(text: str) -> str:
    return _PERCENT.sub(lambda found: chr(int(found[1] or found[2], 16)), text)


def _backslashes(text: str) -> str:
    def character(found: re.Match[str]) -> str:
        *digits, octal, other = found.groups()
        code = int(next(filter(None, digits), "0"), 16) or int(octal or "0", 8)
        return chr(min(code, 0x10FFFF)) if code else other or " "

    return _BACKSLASH.sub(character, text)


def _hex(start: int) -> Callable[[str], str]:
    def decode(found: re.Match[str]) -> bytes:
        digits = re.sub("[ :-]", "", found[0])[start:]
        return bytes.fromhex(digits[: len(digits) // 2 * 2])

    return _decoder(_HEX, decode)


def _base64(start: int) -> Callable[[str], str]:
    def decode(found: re.Match[str]) -> bytes:
        digits = found[0][start:].translate(_URL_SAFE)
        if len(digits) % 4 == 1:
            digits = digits[:-1]  # six bits are not a byte
        return b64decode(digits + "=" * (-len(digits) % 4))

    return _decoder(_BASE64, decode)


def _decoder(
    pattern: re.Pattern[str], decode: Callable[[re.Match[str]], bytes]
) -> Callable[[str], str]:
    """Return a decoder for the parts of a text that match a pattern.

    If the decoded part is not readable text, the decoder does not change this part.
    """

    def read(found: re.Match[str]) -> str:
        data = decode(found)
        readable = _READABLE.search(data.replace(b"\0", b"").decode("utf-8", "replace"))
        return data.decode("latin-1") if readable else found[0]

    return lambda text: pattern.sub(read, text)


_DECODERS = (
    html.unescape,
    _percent,
    _backslashes,
    *map(_hex, range(2)),
    *map(_base64, range(4)),
)
