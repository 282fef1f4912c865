"""The description of a backend: its requests, and where the parts of its responses are.

The description is read from the settings below ``authapp.backend.`` (contract section 7).
"""

from dataclasses import dataclass, field, replace

from authapp.backend.client_key import ASSERTION_TYPE, ClientKey
from authapp.backend.expressions import NEVER, Condition, Expression
from authapp.backend.request_template import RequestTemplate, Text

_CLIENT_FIELDS = {
    "post": ("client_id", "client_secret"),
    "private_key_jwt": ("client_id", "client_assertion_type", "client_assertion"),
}


@dataclass(frozen=True)
class Conditions:
    """The conditions that say what a response means."""

    login_refused: Condition = NEVER
    login_locked: Condition = NEVER
    login_incomplete: Condition = NEVER
    login_throttled: Condition = NEVER
    login_challenge: Condition = NEVER
    challenge_expired: Condition = NEVER
    refresh_refused: Condition = NEVER
    logout_done: Condition | None = None
    """The condition for a sign-out that succeeded. None: any 2xx."""


@dataclass(frozen=True)
class Answers:
    """The expressions that find the parts of a response."""

    access: Expression
    refresh: Expression | None = None
    expires_in: Expression | None = None
    refresh_expires_in: Expression | None = None
    user: Expression | None = None
    reason: Expression | None = None
    challenge_state: Expression | None = None


@dataclass(frozen=True)
class Description:
    """The description of one backend.

    An attribute that describes a request, such as ``logout``, is None if the backend does not offer
    this request.

    :ivar authorization: the ``Authorization`` header that ``request.backend`` and the proxy send.
    """

    login: RequestTemplate
    refresh: RequestTemplate | None
    logout: RequestTemplate | None
    userinfo: RequestTemplate | None
    challenge: RequestTemplate | None
    answers: Answers
    conditions: Conditions
    authorization: Text
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    client_key: ClientKey | None = None
    client_auth: str = "none"
    scope: str | None = None

    def with_client(self) -> "Description":
        """Return the description with this site's credentials added as fields of the requests.

        A field that a request already has is not replaced.
        """
        names = _CLIENT_FIELDS.get(self.client_auth, ())
        return replace(
            self,
            login=_with_fields(self.login, names),
            refresh=self.refresh and _with_fields(self.refresh, names),
            challenge=self.challenge and _with_fields(self.challenge, names),
            logout=self.logout and _with_fields(self.logout, names),
        )

    def client_values(self, url: str) -> dict[str, str | None]:
        """Return the values of the placeholders for this site's id, secret, scope and assertion.

        :param url: the URL of the request. It is the audience of an assertion that this site signs.
        """
        values = {
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "scope": self.scope,
        }
        if self.client_auth == "private_key_jwt" and self.client_key and self.client_id:
            values["client_assertion_type"] = ASSERTION_TYPE
            values["client_assertion"] = self.client_key.assertion(self.client_id, url)
        return values


def _with_fields(template: RequestTemplate, names: tuple[str, ...]) -> RequestTemplate:
    there = {name for name, _ in template.fields}
    more = tuple(((name,), Text((("", name), ("", "")))) for name in names if (name,) not in there)
    return replace(template, fields=template.fields + more)
