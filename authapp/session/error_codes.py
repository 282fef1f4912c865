"""The error codes of a session, each with the one sentence that a person reads.

The codes stand in pages, JSON answers, events and logs; the sentences are message ids of
the translation domain ``authapp``.
"""

from enum import Enum

from pyramid.i18n import TranslationString, TranslationStringFactory

_ = TranslationStringFactory("authapp")

RETRY_AFTER = 1.0
"""Seconds after which to try again, where nobody names any."""


class ErrorCode(str, Enum):
    """Why somebody is not signed in, or not any more."""

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
        """What happened and what to do, to be translated by ``request.localizer``."""
        return _SENTENCES[self]


_SENTENCES = {
    ErrorCode.INVALID_CREDENTIALS: _(
        "That user name and password do not match. Check both and try again."
    ),
    ErrorCode.TOO_MANY_ATTEMPTS: _(
        "There were too many failed sign-ins. Wait a little, then try again."
    ),
    ErrorCode.BACKEND_UNAVAILABLE: _(
        "The sign-in service does not answer right now. Nothing is lost: try again in a moment."
    ),
    ErrorCode.REFRESH_TOKEN_EXPIRED: _("Your session has ended. Sign in again to go on."),
    ErrorCode.REFRESH_TOKEN_REJECTED: _(
        "The sign-in service has ended your session. Sign in again to go on."
    ),
    ErrorCode.SESSION_REVOKED: _("This session was signed out. Sign in again to go on."),
    ErrorCode.SESSION_INVALID: _("Your session could not be read. Sign in again to go on."),
}

SIGNED_OUT = "SignedOut"
"""The ``reason`` of the sign-in page after a sign-out; not an error."""

SIGNED_OUT_SENTENCE = _("You are signed out.")


def reason_sentence(reason: str) -> TranslationString | None:
    """The sentence for the ``reason`` in a sign-in URL.

    :param reason: an error code or ``SignedOut``, as found in the query: any text.
    :returns: the sentence, or None for anything else.
    """
    if reason == SIGNED_OUT:
        return SIGNED_OUT_SENTENCE
    try:
        return ErrorCode(reason).sentence
    except ValueError:
        return None


TOO_LARGE_SENTENCE = _("That is more than can be sent here. Shorten it and send it again.")

SIGN_IN_REQUIRED = "SignInRequired"
SIGN_IN_REQUIRED_SENTENCE = _("You have to be signed in for this. Sign in, then go on.")
