"""The error codes of a session, and the text that a person reads for each.

The codes appear in pages, JSON, events and logs (contract section 3). The texts are message ids
of the translation domain ``authapp``. Each says what happened and then what to do.
"""

from enum import Enum

from pyramid.i18n import TranslationString, TranslationStringFactory

_ = TranslationStringFactory("authapp")

RETRY_AFTER = 1.0
"""Seconds after which to try again, if the backend or the view does not say."""


class ErrorCode(str, Enum):
    """Why a user could not sign in, or is no longer signed in."""

    INVALID_CREDENTIALS = "InvalidCredentials"
    TOO_MANY_ATTEMPTS = "TooManyAttempts"
    BACKEND_UNAVAILABLE = "BackendUnavailable"
    REFRESH_TOKEN_EXPIRED = "RefreshTokenExpired"  # noqa: S105 - a code
    REFRESH_TOKEN_REJECTED = "RefreshTokenRejected"  # noqa: S105 - a code
    SESSION_REVOKED = "SessionRevoked"
    SESSION_INVALID = "SessionInvalid"

    def __str__(self) -> str:
        return self.value

    @property
    def sentence(self) -> TranslationString:
        """What happened and what to do. Translate it with ``request.localizer``."""
        return _SENTENCES[self]


_SENTENCES = {
    ErrorCode.INVALID_CREDENTIALS: _(
        "That user name and password do not match. Check both and try again."
    ),
    ErrorCode.TOO_MANY_ATTEMPTS: _(
        "There were too many failed sign-in attempts. Wait a few minutes, then try again."
    ),
    ErrorCode.BACKEND_UNAVAILABLE: _(
        "The sign-in service is not responding right now. Nothing is lost. Try again in a moment."
    ),
    ErrorCode.REFRESH_TOKEN_EXPIRED: _("Your session has ended. Sign in again to continue."),
    ErrorCode.REFRESH_TOKEN_REJECTED: _(
        "The sign-in service has ended your session. Sign in again to continue."
    ),
    ErrorCode.SESSION_REVOKED: _("You have been signed out. Sign in again to continue."),
    ErrorCode.SESSION_INVALID: _("Your session is no longer valid. Sign in again to continue."),
}

SIGNED_OUT = "SignedOut"
"""The ``reason`` in the URL of the sign-in page after a sign-out. It is not an error."""

SIGNED_OUT_SENTENCE = _("You are signed out.")


def reason_sentence(reason: str) -> TranslationString | None:
    """Return the text for the ``reason`` in the URL of the sign-in page.

    :param reason: the value from the query. It may be any text.
    :returns: the text for an error code or ``SignedOut``, or None for anything else.
    """
    if reason == SIGNED_OUT:
        return SIGNED_OUT_SENTENCE
    try:
        return ErrorCode(reason).sentence
    except ValueError:
        return None


TOO_LARGE_SENTENCE = _("What you sent is too large. Shorten it and send it again.")
"""The text for a request body that is too large."""

SIGN_IN_REQUIRED = "SignInRequired"
"""The code for a request that needs a signed-in user. No session has ended."""

SIGN_IN_REQUIRED_SENTENCE = _("You need to be signed in for this. Sign in to continue.")
