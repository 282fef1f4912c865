"""The settings below ``authapp.oidc.`` and ``authapp.login.methods``: contract section 9."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from authapp.backend.client_authentication import CLIENT_AUTH, default_client_auth
from authapp.backend.client_key import ClientKey, read_client_key
from authapp.backend.token_reader import ASYMMETRIC
from authapp.session.session import MAX_LIFETIME
from authapp.settings import allowed_values as values
from authapp.settings.ini import Ini

PASSWORD, OIDC = "password", "oidc"
"""The two ways to sign in: the words that ``authapp.login.methods`` may contain."""

_PROMPTS = ("none", "login", "consent", "select_account", "create")
_DEFAULT_SCOPE = "openid profile email offline_access"


@dataclass(frozen=True)
class OIDCSettings:
    """The settings of the OpenID Connect provider, and of this site as a client of the provider.

    :param issuer: the provider's issuer identifier, exactly as in its ``iss`` claims.
    :param client_auth: ``basic``, ``post``, ``private_key_jwt`` or ``none``.
    :param label: the name of the provider on the sign-in page.
    :param max_age: if the user's last sign-in at the provider was more than this many seconds ago,
        the provider must ask the user to sign in again. None: no such limit.
    :param logout: with ``rp``, a sign-out also signs the user out at the provider. With ``local``,
        the user stays signed in at the provider.
    :param algorithm: how ID tokens are signed. ID tokens with another algorithm are refused.
    :param userinfo: True if authapp asks the userinfo endpoint for claims that the ID token lacks.
    """

    issuer: str
    client_id: str
    client_secret: str | None = field(repr=False)
    client_key: ClientKey | None
    client_auth: str
    scope: str
    label: str
    prompt: str | None
    max_age: int | None
    acr_values: str | None
    logout: str
    algorithm: str
    userinfo: bool


def read_oidc(reader: Ini, http: bool) -> OIDCSettings | None:
    """Read the settings of the OpenID Connect provider.

    :param reader: gives the text of each setting, and collects the problems.
    :param http: True if the issuer may be an http URL.
    :returns: the settings, or None if ``oidc.issuer`` is not set.
    """
    take = reader.take
    issuer = take(
        "oidc.issuer",
        lambda text: values.url(text, http, "the issuer's URL, such as https://id.example.com"),
        None,
    )
    client_id = take("oidc.client_id", values.plain, None)
    client_secret = take("oidc.client_secret", values.plain, None, secret=True)
    client_key = take("oidc.client_key", read_client_key, None, secret=True)
    default_auth = default_client_auth(client_secret, client_key, "none")
    settings = OIDCSettings(
        issuer=issuer or "",
        client_id=client_id or "",
        client_secret=client_secret,
        client_key=client_key,
        client_auth=take("oidc.client_auth", values.one_of(CLIENT_AUTH), default_auth),
        scope=take("oidc.scope", _scope, _DEFAULT_SCOPE),
        label=take("oidc.label", values.plain, urlsplit(issuer or "").hostname or ""),
        prompt=take("oidc.prompt", _prompt, None),
        max_age=take("oidc.max_age", values.whole(0, MAX_LIFETIME), None),
        acr_values=take("oidc.acr_values", values.plain, None),
        logout=take("oidc.logout", values.one_of(("rp", "local")), "rp"),
        algorithm=take("oidc.algorithm", values.one_of(ASYMMETRIC), "RS256"),
        userinfo=take("oidc.userinfo", values.boolean, True),
    )
    for key in _KEYS:
        reader.needs(f"oidc.{key}", "oidc.issuer")
    if not reader.has("oidc.issuer"):
        return None
    if not reader.has("oidc.client_id"):
        reader.problem(
            "authapp.oidc.client_id is missing: set it to the id that the provider gave this site"
        )
    needed = {"basic": "client_secret", "post": "client_secret", "private_key_jwt": "client_key"}
    credential = needed.get(settings.client_auth)
    if credential and not reader.has(f"oidc.{credential}"):
        reader.problem(
            f"authapp.oidc.client_auth = {settings.client_auth}: needs authapp.oidc.{credential}"
        )
    return settings


def read_methods(reader: Ini) -> tuple[str, ...]:
    """Read ``login.methods``: the ways to sign in.

    :param reader: gives the text of each setting, and collects the problems.
    :returns: ``password``, ``oidc`` or both. If ``login.methods`` is not set: ``password`` if
        ``backend.url`` is set, and ``oidc`` if ``oidc.issuer`` is set. If neither is set,
        ``password``.
    """
    issuer, url = reader.has("oidc.issuer"), reader.has("backend.url")
    default = (*([PASSWORD] if url or not issuer else []), *([OIDC] if issuer else []))
    methods = reader.take("login.methods", _methods, default)
    if OIDC in methods and not issuer:
        reader.problem("authapp.login.methods: oidc needs authapp.oidc.issuer")
    return methods


_KEYS = (
    "client_id",
    "client_secret",
    "client_key",
    "client_auth",
    "scope",
    "label",
    "prompt",
    "max_age",
    "acr_values",
    "logout",
    "algorithm",
    "userinfo",
)


def _methods(text: str) -> tuple[str, ...]:
    methods = values.words(text)
    if not set(methods) <= {PASSWORD, OIDC}:
        raise ValueError(f"must be {PASSWORD}, {OIDC} or both")
    return methods


def _scope(text: str) -> str:
    scope = text.split()
    if "openid" not in scope:
        raise ValueError("must contain openid")
    return " ".join(scope)


def _prompt(text: str) -> str:
    words = values.words(text)
    if not set(words) <= set(_PROMPTS):
        raise ValueError(f"must be one or more of {', '.join(_PROMPTS)}")
    return " ".join(words)
