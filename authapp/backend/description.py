"""How one backend speaks, as one value: its requests, and where the parts of its responses are.

The settings below ``authapp.backend.`` give it: contract section 7.
"""

from dataclasses import dataclass, field, replace

from authapp.backend.expressions import NEVER, Condition, Expression
from authapp.backend.request_template import RequestTemplate, Text

CLIENT_AUTH = ("basic", "post", "none")
"""How the client id and secret are sent (RFC 6749 section 2.3.1): in the Authorization header, as
fields, or not at all."""


@dataclass(frozen=True)
class Conditions:
    """What a response means, for those conditions that the settings describe."""

    login_refused: Condition = NEVER
    login_locked: Condition = NEVER
    login_incomplete: Condition = NEVER
    login_throttled: Condition = NEVER
    login_challenge: Condition = NEVER
    challenge_expired: Condition = NEVER
    refresh_refused: Condition = NEVER
    logout_done: Condition | None = None
    """None: any 2xx."""


@dataclass(frozen=True)
class Answers:
    """Where the parts of a response are."""

    access: Expression
    refresh: Expression | None = None
    expires_in: Expression | None = None
    refresh_expires_in: Expression | None = None
    user: Expression | None = None
    reason: Expression | None = None
    challenge_state: Expression | None = None


@dataclass(frozen=True)
class Description:
    """One backend. A request that is None does not exist.

    :ivar authorization: the ``Authorization`` header for the user's own calls.
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
    client_auth: str = "none"
    scope: str | None = None

    def with_client(self) -> "Description":
        """Return the description with the client's id and secret in the requests' fields.

        This is for ``client_auth = post``. A request that names them itself is unchanged.
        """
        if self.client_auth != "post":
            return self
        return replace(
            self,
            login=_with_client_fields(self.login),
            refresh=self.refresh and _with_client_fields(self.refresh),
            challenge=self.challenge and _with_client_fields(self.challenge),
            logout=self.logout and _with_client_fields(self.logout),
        )


def _with_client_fields(template: RequestTemplate) -> RequestTemplate:
    there = {name for name, _ in template.fields}
    more = tuple(
        ((name,), Text((("", name), ("", ""))))
        for name in ("client_id", "client_secret")
        if (name,) not in there
    )
    return replace(template, fields=template.fields + more)
