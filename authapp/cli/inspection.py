"""``authapp inspect``: shows what is in a session cookie, and which secret decrypts it."""

import hashlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from authapp.cli.ini_file import read
from authapp.cli.report import show_json
from authapp.session import base64url
from authapp.session.cookies import readable
from authapp.session.encryption import FORMATS, CannotOpen, Sealer, fingerprint
from authapp.session.session import Phase, Session
from authapp.settings.settings import Settings

_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*(\.[A-Za-z0-9_-]*){0,2}")
_PHASES = {Phase.FRESH: "green", Phase.DUE: "yellow", Phase.EXPIRED: "yellow", Phase.ENDED: "red"}
_HEADER = re.compile(r"^\s*(Set-)?Cookie:\s*", re.IGNORECASE | re.MULTILINE)
_ENOUGH = 40
_KINDS = ("token_type", "token_use")
"""Claims that are shown although their name sounds like a token: they contain only its kind."""


class InvalidCookie(Exception):
    """The text contains no session that one of the secrets can decrypt. The error says why."""


@dataclass(frozen=True)
class Inspected:
    """A session, and how its cookie was decrypted.

    :param number: the number of the line of ``authapp.secret`` with the secret that decrypted the
        cookie. The first line is 1.
    :param claims: the claims of the session. Tokens in them may be masked.
    :param access: the claims of the access token, masked in the same way.
    """

    session: Session
    phase: Phase
    number: int
    secret: bytes
    format_name: str
    now: float
    claims: Mapping[str, Any]
    access: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return everything that was found, as JSON for a program."""
        validity = self.session.validity
        return {
            "ok": True,
            "phase": self.phase.value,
            "valid_for": validity.valid_until - int(self.now),
            "refresh_for": validity.refresh_until - int(self.now),
            "session": self.session.digest,
            "secret": {"line": self.number, "fingerprint": fingerprint(self.secret)},
            "format": self.format_name,
            "claims": self.claims,
            "access_token": self.access,
        }

    def show(self) -> None:
        """Write everything that was found to standard output, as text for the user."""
        found, validity = self.as_json(), self.session.validity
        access, refresh = _distance(found["valid_for"]), _distance(found["refresh_for"])
        for name, text in (
            ("phase", click.style(self.phase.value, fg=_PHASES[self.phase], bold=True)),
            ("access", f"until {_time(validity.valid_until)}, {access}"),
            (
                "refresh",
                f"until {_time(validity.refresh_until)}, {refresh}",
            ),
            ("issued", _time(self.session.issued_at)),
            ("signed in", _time(int(self.session.authenticated_at))),
            ("session", f"{self.session.digest} in logs"),
            ("secret", f"line {self.number} of authapp.secret, {found['secret']['fingerprint']}"),
            ("format", self.format_name),
        ):
            click.echo(f"{click.style(name.ljust(10), bold=True)}{text}")
        for name in ("claims", "access_token"):
            click.secho(name.replace("_", " "), bold=True)
            show_json(found[name])


def inspect_cookie(
    uri: str, variables: Mapping[str, str], text: str, tokens: bool = False
) -> Inspected:
    """Decrypt a session cookie with the secrets of an ini file.

    :param text: the value of the cookie, its chunks, or a ``Cookie`` header.
    :param tokens: True to show the tokens.
    :raises CannotRead: if the file cannot be read.
    :raises SettingsError: if its settings cannot be used.
    :raises InvalidCookie: if the text has no session that a secret decrypts.
    """
    settings = Settings.from_ini(read(uri, variables).settings)
    candidates = _candidates(settings, text)
    for candidate in candidates:
        found = _open(settings, candidate, settings.session_format)
        if found is not None:
            number, session = found
            now = time.time()
            return Inspected(
                session,
                session.phase(now, settings.refresh_buffer),
                number + 1,
                settings.secrets[number],
                settings.session_format,
                now,
                session.claims if tokens else _masked(session.claims),
                session.identity.claims if tokens else _masked(session.identity.claims),
            )
    raise InvalidCookie(_why(settings, candidates[0]))


def _candidates(settings: Settings, text: str) -> tuple[str, ...]:
    """Return the strings to decrypt, at least one."""
    text = _HEADER.sub("", text).strip().strip("'\"")
    if "=" not in text:
        if not text:
            raise InvalidCookie("there is nothing on standard input")
        return ("".join(text.split()),)  # chunks one after the other make a token
    header = "; ".join(each.strip(" ;\t") for each in text.splitlines() if each.strip())
    found = settings.cookie.read(readable(header))
    if found.candidates:
        return found.candidates
    names = [pair.partition("=")[0].strip()[:_ENOUGH] for pair in header.split(";")]
    there = ", ".join(name for name in names if name.isprintable())[:200]
    raise InvalidCookie(
        f"there is no cookie {settings.cookie.name}, which authapp.session.cookie names; there are:"
        f" {there}"
    )


def _open(settings: Settings, token: str, format_name: str) -> tuple[int, Session] | None:
    """Decrypt a session.

    :param token: the encrypted session.
    :returns: the index of the secret that decrypts it (0 for the first secret), and the session.
        None if no secret decrypts it.
    """
    for number, secret in enumerate(settings.secrets):
        try:
            return number, Sealer([secret], format_name, settings.cookie.name).open(token)
        except CannotOpen:
            continue
    return None


def _why(settings: Settings, token: str) -> str:
    """Return why no secret decrypts a token."""
    parts = token.split(".")
    if len(parts) != 5:
        needs = f"it needs 5 parts, not {len(parts)}; a chunk may be missing"
        return f"not an encrypted session: {needs}"
    try:
        header = json.loads(base64url.decode(parts[0]))
        algorithm = header["enc"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "not an encrypted session: its first part does not say how it is encrypted"
    for name in FORMATS:
        if _open(settings, token, name) is not None:
            return f"the cookie has the format {name}; authapp.session.format = {name} decrypts it"
    wanted = FORMATS[settings.session_format].encryption
    if algorithm != wanted:
        known = algorithm if re.fullmatch("[A-Z0-9-]{1,20}", str(algorithm)) else "something else"
        return f"the cookie is encrypted with {known}; {settings.session_format} has {wanted}"
    prints = ", ".join(map(fingerprint, settings.secrets))
    return (
        f"no secret decrypts it: another application encrypted it, or it was changed, or a chunk is"
        f" missing; the secrets here are {prints}"
        + (", and the cookie's name counts too" if FORMATS[settings.session_format].salted else "")
    )


def _masked(value: Any, name: str = "") -> Any:
    """Return a value in which tokens are replaced by digests."""
    if isinstance(value, Mapping):
        return {each: _masked(inner, str(each)) for each, inner in value.items()}
    if isinstance(value, list):
        return [_masked(each, name) for each in value]
    if isinstance(value, str) and (
        name in ("access", "refresh", "sid")
        or ("token" in name.lower() and name not in _KINDS)
        or _TOKEN.fullmatch(value)
    ):
        return f"sha256:{hashlib.sha256(value.encode()).hexdigest()[:16]}"
    return value


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _distance(seconds: int) -> str:
    units = ((86_400, "days"), (3_600, "hours"), (60, "minutes"), (1, "seconds"))
    length, name = next((each for each in units if abs(seconds) >= 2 * each[0]), units[-1])
    count = f"{abs(seconds) // length} {name}"
    return f"in {count}" if seconds > 0 else f"{count} ago"
