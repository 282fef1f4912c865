"""What differs between backends on the wire, as data: paths, fields, encodings."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar


@dataclass(frozen=True)
class Wire:
    """One backend's wire format.

    ``*_path`` are below the backend's URL. ``*_field`` name the fields of requests and
    answers; ``login_extra`` and its like are sent along as they stand.
    ``not_about_the_token`` are the ``error`` values of an answer that complain of the
    client and not of the user: no reason to end anybody's session.
    """

    form: bool
    login_path: str
    refresh_path: str
    logout_path: str
    username_field: str
    password_field: str
    refresh_request_field: str
    logout_field: str
    access_field: str
    refresh_field: str
    expires_field: str = "expires_in"
    refresh_expires_field: str = "refresh_expires_in"
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    scope: str | None = None
    login_extra: Mapping[str, str] = field(default_factory=dict)
    refresh_extra: Mapping[str, str] = field(default_factory=dict)
    logout_extra: Mapping[str, str] = field(default_factory=dict)
    not_about_the_token: frozenset[str] = frozenset()

    OVERRIDABLE: ClassVar[tuple[str, ...]] = (
        "login_path",
        "refresh_path",
        "logout_path",
        "username_field",
        "password_field",
        "refresh_request_field",
        "logout_field",
        "access_field",
        "refresh_field",
        "expires_field",
        "refresh_expires_field",
        "client_id",
        "client_secret",
        "scope",
    )

    def override(self, values: Mapping[str, str | None]) -> "Wire":
        """This format with the values that are given (not None) in place of its own."""
        given = {key: value for key, value in values.items() if value is not None}
        return replace(self, **given)  # type: ignore[arg-type]


PRESETS = {
    "simplejwt": Wire(
        form=False,
        login_path="/api/token/",
        refresh_path="/api/token/refresh/",
        logout_path="/api/token/blacklist/",
        username_field="username",
        password_field="password",  # noqa: S106 - the name of a field
        refresh_request_field="refresh",
        logout_field="refresh",
        access_field="access",
        refresh_field="refresh",
    ),
    # RFC 6749 sections 4.3 and 6, RFC 7009
    "oauth2": Wire(
        form=True,
        login_path="/token",
        refresh_path="/token",
        logout_path="/revoke",
        username_field="username",
        password_field="password",  # noqa: S106 - the name of a field
        refresh_request_field="refresh_token",
        logout_field="token",
        access_field="access_token",
        refresh_field="refresh_token",
        login_extra={"grant_type": "password"},
        refresh_extra={"grant_type": "refresh_token"},
        logout_extra={"token_type_hint": "refresh_token"},
        not_about_the_token=frozenset(
            {
                "invalid_client",
                "invalid_request",
                "invalid_scope",
                "unauthorized_client",
                "unsupported_grant_type",
            }
        ),
    ),
}
