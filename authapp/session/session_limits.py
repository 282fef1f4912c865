"""The limits of a session apart from the lifetimes of its tokens, and whether it is remembered.

The settings ``session.*`` set the limits (contract section 10). All functions are pure. Times are
seconds since the epoch.
"""

from dataclasses import dataclass

from authapp.session.session import Session, Validity

REMEMBER = ("yes", "no", "ask")
"""The allowed values of ``session.remember``."""

_PART = 10
"""The cookie records a request of the user at most once in ``idle / _PART`` seconds."""


@dataclass(frozen=True)
class SessionLimits:
    """The limits of a session, and whether the browser remembers the session.

    :param idle: a session ends this many seconds after the user's last request. None: no limit.
    :param absolute: a session ends this many seconds after the sign-in. None: no limit.
    :param remember: one of :data:`REMEMBER`.
    """

    idle: int | None = None
    absolute: int | None = None
    remember: str = "yes"

    def limit(self, validity: Validity, signed_in: float) -> Validity:
        """Return ``validity``, in which the session ends ``absolute`` seconds after the sign-in or
        earlier.
        """
        if self.absolute is None:
            return validity
        end = int(signed_in) + self.absolute
        if validity.refresh_until <= end:
            return validity
        return Validity(validity.valid_until, end)

    def idle_until(self, session: Session) -> int | None:
        """Return the time at which a session becomes idle, or None if there is no idle limit."""
        return None if self.idle is None else session.last_used + self.idle

    def is_idle(self, session: Session, now: float) -> bool:
        """Return True if the user has sent no request for ``idle`` seconds."""
        until = self.idle_until(session)
        return until is not None and now >= until

    def must_record(self, session: Session, now: float) -> bool:
        """Return True if the cookie must record that the user sends a request at the time ``now``.

        If the clock of another machine was ahead, the time in the session may be much later than
        ``now``. Such a time is replaced too.
        """
        return self.idle is not None and abs(now - session.last_used) >= self.idle / _PART

    def cookie_lifetime(self, session: Session, now: float) -> int | None:
        """Return the seconds for which the browser keeps the cookie.

        :returns: the seconds. None if the browser deletes the cookie when the browser is closed.
        """
        asked = self.remember == "ask" and session.remember is False
        if self.remember == "no" or asked:
            return None
        return max(0, session.validity.refresh_until - int(now))


UNLIMITED = SessionLimits()
"""No limits: a session lasts as long as its tokens."""
