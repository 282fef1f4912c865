"""The error codes of a session, and the sentence that a user reads for each error code.

The codes appear in JSON, events and logs (contract section 3). The sentences are message ids of the
translation domain ``authapp``. Each sentence says what happened, and then what the user can do.
"""

from enum import Enum

from pyramid.i18n import TranslationString, TranslationStringFactory

_ = TranslationStringFactory("authapp")

RETRY_AFTER = 1.0
"""The default number of seconds after which a client may try again.

The default is used if neither the backend nor the view gives a number.
"""


class ErrorCode(str, Enum):
    """The reason why a user could not sign in or is no longer signed in."""

    INVALID_CREDENTIALS = "InvalidCredentials"
    TOO_MANY_ATTEMPTS = "TooManyAttempts"
    ACCOUNT_LOCKED = "AccountLocked"
    ACCOUNT_INCOMPLETE = "AccountIncomplete"
    BACKEND_UNAVAILABLE = "BackendUnavailable"
    REFRESH_TOKEN_EXPIRED = "RefreshTokenExpired"  # noqa: S105 - a code
    REFRESH_TOKEN_REJECTED = "RefreshTokenRejected"  # noqa: S105 - a code
    SESSION_REVOKED = "SessionRevoked"
    SESSION_IDLE = "SessionIdle"
    SIGN_IN_EXPIRED = "SignInExpired"
    SIGN_IN_INCOMPLETE = "SignInIncomplete"
    SESSION_INVALID = "SessionInvalid"

    def __str__(self) -> str:
        return self.value

    @property
    def sentence(self) -> TranslationString:
        """The sentence for the user. Translate it with ``request.localizer``."""
        return _SENTENCES[self]


_SENTENCES = {
    ErrorCode.INVALID_CREDENTIALS: _(
        "That user name and password do not match. Check both and try again."
    ),
    ErrorCode.TOO_MANY_ATTEMPTS: _(
        "There were too many failed sign-in attempts. Wait a few minutes, then try again."
    ),
    ErrorCode.ACCOUNT_LOCKED: _(
        "This account is locked. Contact the people who manage your access."
    ),
    ErrorCode.ACCOUNT_INCOMPLETE: _(
        "Your account needs something from you first, such as a confirmed email address."
        " Check your email, or contact the people who manage your access."
    ),
    ErrorCode.BACKEND_UNAVAILABLE: _(
        "The sign-in service is not responding right now. Nothing is lost. Try again in a moment."
    ),
    ErrorCode.REFRESH_TOKEN_EXPIRED: _("Your session has ended. Sign in again to continue."),
    ErrorCode.REFRESH_TOKEN_REJECTED: _(
        "The sign-in service has ended your session. Sign in again to continue."
    ),
    ErrorCode.SIGN_IN_EXPIRED: _(
        "This sign-in took too long, was already used, or began in another browser. Sign in again"
        " to continue."
    ),
    ErrorCode.SIGN_IN_INCOMPLETE: _(
        "You did not finish signing in. Try again, or contact the people who manage your access."
    ),
    ErrorCode.SESSION_REVOKED: _("You have been signed out. Sign in again to continue."),
    ErrorCode.SESSION_IDLE: _(
        "You were signed out because you had not used the site for a while. Sign in again to"
        " continue."
    ),
    ErrorCode.SESSION_INVALID: _("Your session is no longer valid. Sign in again to continue."),
}

SIGNED_OUT = "SignedOut"
"""The ``reason`` in the URL of the sign-in page after a sign-out. It is not an error code."""

CHALLENGE_EXPIRED = "ChallengeExpired"
"""The ``reason`` in the URL of the sign-in page if the user took too long for the second step."""

SIGNED_OUT_SENTENCE = _("You are signed out.")
"""The sentence for the reason ``SignedOut``."""


SIGN_IN_AGAIN_SENTENCE = _("Please sign in again. This page needs a recent sign-in.")
"""The sentence for a page that needs a more recent sign-in."""


def reason_sentence(reason: str) -> TranslationString | None:
    """Return the sentence for the ``reason`` in the URL of the sign-in page.

    :param reason: the value from the query string. A client can send any string.
    :returns: the sentence if ``reason`` is an error code, ``SignedOut`` or ``ChallengeExpired``.
        None for any other string.
    """
    if reason in _REASONS:
        return _REASONS[reason]
    try:
        return ErrorCode(reason).sentence
    except ValueError:
        return None


_REASONS = {
    SIGNED_OUT: SIGNED_OUT_SENTENCE,
    CHALLENGE_EXPIRED: _("This sign-in took too long or is no longer valid. Sign in again."),
}

WRONG_CODE_SENTENCE = _("That code is not correct. Check it and try again.")
"""The sentence for a wrong code in the second step of a sign-in."""

NOT_AVAILABLE_SENTENCE = _(
    "Sign-in is not available right now because of a fault at this site. Contact the people who"
    " manage your access if it lasts."
)
"""The sentence for a sign-in that would fail again if the user repeated it. There are two causes:
authapp does not understand the backend's response, or the session is too large for cookies."""

BAD_REQUEST_SENTENCE = _("We could not read what your browser sent. Go back and try again.")
"""The sentence for a request that cannot be read (400)."""

TOO_LARGE_SENTENCE = _("What you sent is too large. Shorten it and send it again.")
"""The sentence for a request body that is too large (413)."""

SIGN_IN_REQUIRED = "SignInRequired"
"""The code of a 401 response if nobody is signed in. If a session has just ended, the response has
an :class:`ErrorCode` instead."""

SIGN_IN_REQUIRED_SENTENCE = _("You need to be signed in for this. Sign in to continue.")
"""The sentence for the code ``SignInRequired``."""
