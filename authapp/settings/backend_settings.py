"""The settings below ``authapp.backend.`` and ``authapp.claims.``: contract section 7."""

from collections.abc import Callable, Mapping
from typing import Any

from authapp.backend.client_authentication import CLIENT_AUTH, default_client_auth
from authapp.backend.client_key import read_client_key
from authapp.backend.description import Answers, Conditions, Description
from authapp.backend.expressions import NEVER, Condition, Expression, condition, expression
from authapp.backend.identity_reader import ClaimExpressions
from authapp.backend.presets import load, names
from authapp.backend.request_template import RequestTemplate, Text, parse, parse_text
from authapp.settings import allowed_values as values
from authapp.settings.ini import Ini

PRESET = "authapp.backend.preset"
"""The key of the setting that names the preset."""

DEFAULT_PRESET = "simplejwt"
"""The preset of a site whose settings do not name a preset."""

NO_PRESET = "none"
"""The value of ``backend.preset`` for a backend without a preset: the site's own ini file describes
all of it."""

_NEEDED = {
    "login": "the request that signs a user in",
    "login.refused": "the condition for a wrong user name or password, or none",
    "refresh": "the request that renews the tokens, or none",
    "logout": "the request that revokes the refresh token, or none",
    "answer.access": "JMESPath for the access token",
}
"""The settings below ``backend.`` that each preset has -> what they are."""


def with_preset(ini: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of an ini file and of its preset. The ini file has precedence."""
    return {**_preset(ini), **ini}


def _preset(ini: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the settings of the preset that an ini file uses."""
    name = preset_name(ini)
    return load(name) if name in names() else {}


def preset_name(ini: Mapping[str, Any]) -> str:
    """Return the value of ``backend.preset``: the name of a preset, or :data:`NO_PRESET`.

    If the ini file does not set ``backend.preset``, this is the default preset.
    """
    try:
        return values.resolve(str(ini.get(PRESET, ""))) or DEFAULT_PRESET
    except ValueError:  # Ini.take reports the problem
        return DEFAULT_PRESET


def from_preset(shown: Mapping[str, str], key: str) -> bool:
    """Return True if a setting has the same text as in the preset.

    :param shown: the settings of the ini file and of its preset.
    :param key: the key without the prefix, such as ``backend.login``.
    """
    key = f"authapp.{key}"
    return shown.get(key, "").split() == _preset(shown).get(key, "").split()


def report_missing(reader: Ini, description: Description) -> None:
    """Report each setting that a backend without a preset needs, and that is not set.

    :param reader: the reader that has read the settings. It collects the problems.
    :param description: the settings that the reader has read.
    """
    if preset_name(reader.shown) != NO_PRESET:
        return
    needed, refresh = dict(_NEEDED), description.refresh
    if refresh is not None:
        needed["refresh.refused"] = "the condition for a rejected refresh token, or none"
        if "refresh" in refresh.placeholders:
            needed["answer.refresh"] = "JMESPath for the refresh token"
    for name, what in needed.items():
        key = f"authapp.backend.{name}"
        empty = key in reader.blank and name in _REQUESTS  # is reported already
        if not empty and not reader.has(f"backend.{name}"):
            reader.problem(f"{key} is missing: with {PRESET} = {NO_PRESET}, set it to {what}")


def read_description(reader: Ini) -> Description:
    """Read the settings that describe the requests and responses of the backend.

    :param reader: gives the text of each setting, and collects the problems.
    """
    take = reader.take
    client = ("client_id", "client_secret", "scope")
    used: set[str] = set()

    def request(
        name: str, *known: str, default: RequestTemplate | None = None
    ) -> RequestTemplate | None:
        template = take(f"backend.{name}", _request(*client, *known), default)
        used.update(template.placeholders if template else ())
        return template

    def found(name: str) -> Expression | None:
        return take(f"backend.answer.{name}", expression, None)

    def meets(name: str) -> Condition:
        return take(f"backend.{name}", condition, NEVER)

    for name in _REQUESTS:
        if f"authapp.backend.{name}" in reader.blank:
            reader.problem(
                f"authapp.backend.{name} is empty; write none if the backend has no such request"
            )
    take("backend.preset", values.one_of((*names(), NO_PRESET)), DEFAULT_PRESET)
    login = request("login", "username", "password", "address", default=_NO_LOGIN)
    if login is None:
        reader.problem("authapp.backend.login = none: there is no sign-in without it")
    refresh = request("refresh", "access", "refresh")
    logout = request("logout", "access", "refresh")
    userinfo = request("userinfo", "access", "refresh")
    challenge = request("challenge", "code", "state", "address")
    state = take("backend.challenge.state", expression, None)
    challenges = meets("login.challenge")
    if reader.has("backend.login.challenge") and (challenge is None or state is None):
        reader.problem(
            "authapp.backend.login.challenge has no effect without authapp.backend.challenge and"
            " authapp.backend.challenge.state"
        )
    scope = take("backend.scope", values.plain, None)
    client_id = take("backend.client_id", values.plain, None)
    client_secret = take("backend.client_secret", values.plain, None, secret=True)
    client_key = take("backend.client_key", read_client_key, None, secret=True)
    for key in ("client_secret", "client_key", "client_auth"):
        if key not in used:
            reader.needs(f"backend.{key}", "backend.client_id")
    if reader.has("backend.scope") and "scope" not in used:
        reader.problem("authapp.backend.scope has no effect: no request of the backend has {scope}")
    default_auth = "none"
    if client_id is not None:
        default_auth = default_client_auth(client_secret, client_key, "post")
    client_auth = take("backend.client_auth", values.one_of(CLIENT_AUTH), default_auth)
    if client_auth == "private_key_jwt" and client_key is None:
        reader.problem(
            "authapp.backend.client_auth = private_key_jwt: needs authapp.backend.client_key"
        )
    return Description(
        login=login or _NO_LOGIN,
        refresh=refresh,
        logout=logout,
        userinfo=userinfo,
        challenge=challenge,
        answers=Answers(
            access=found("access") or _NO_TOKEN,
            refresh=found("refresh"),
            expires_in=found("expires_in"),
            refresh_expires_in=found("refresh_expires_in"),
            user=found("user"),
            reason=found("reason"),
            challenge_state=state,
        ),
        conditions=Conditions(
            login_refused=meets("login.refused"),
            login_locked=meets("login.locked"),
            login_incomplete=meets("login.incomplete"),
            login_throttled=meets("login.throttled"),
            login_challenge=challenges,
            challenge_expired=meets("challenge.expired"),
            refresh_refused=meets("refresh.refused"),
            logout_done=take("backend.logout.done", condition, None),
        ),
        authorization=take("backend.authorization", _authorization, _BEARER),
        client_id=client_id,
        client_secret=client_secret,
        client_key=client_key,
        client_auth=client_auth,
        scope=scope,
    )


def read_claims(reader: Ini) -> ClaimExpressions:
    """Read the JMESPath expressions that find the user's id, email, name, roles and scopes.

    :param reader: gives the text of each setting, and collects the problems.
    """

    def found(name: str, default: str) -> Expression:
        return reader.take(f"claims.{name}", expression, expression(default))

    return ClaimExpressions(
        found("id", "sub || user_id || id"),
        found("email", "email"),
        found("name", "name || preferred_username || username"),
        found("roles", "roles"),
        found("scopes", "scope"),
    )


def _request(*known: str) -> Callable[[str], RequestTemplate | None]:
    """Return a function that reads a request.

    :param known: the placeholders that have a value in this request. Any other placeholder in the
        path is an error. A header or field with another placeholder is never sent.
    """

    def read(text: str) -> RequestTemplate | None:
        template = parse(text)
        other = template.path.placeholders - set(known) if template else set()
        if other:
            there = ", ".join(f"{{{name}}}" for name in known)
            raise ValueError(
                f"{{{min(other)}}} has no value in the path of this request; there are {there}"
            )
        return template

    return read


def _authorization(text: str) -> Text:
    found = parse_text(text)
    if found.placeholders != {"access"} or not text.isprintable():
        raise ValueError("must hold {access} and no other placeholder, as in: Bearer {access}")
    return found


_REQUESTS = ("login", "refresh", "logout", "userinfo", "challenge")
_BEARER = parse_text("Bearer {access}")
_NO_TOKEN = expression("`null`")
_NO_LOGIN = RequestTemplate("POST", parse_text("/"), (), (), "application/json", "POST /")
