"""A process with an index of sessions, and a clock that tests move."""

from dataclasses import replace

from authapp.renewal.revocation import Revocation
from authapp.renewal.session_index import SessionIndex
from authapp.session.session import Identity, Session
from authapp.session.session_limits import UNLIMITED, SessionLimits
from authapp.store.protocol import Store
from session.test_session import NOW, make


class Machine:
    """One process with its index. ``now`` is the time in this process; tests change it."""

    def __init__(self, store: Store, limits: SessionLimits = UNLIMITED) -> None:
        self.now = float(NOW)
        self.store = store
        self.revocation = Revocation(store, 604_800)
        self.index = SessionIndex(store, self.revocation, limits, lambda: self.now)

    def start(self, sid: str, user: int | str = 1, agent: str = "Firefox") -> Session:
        """Sign a user in, and record the session in the index."""
        session = replace(
            make(int(self.now) + 900, int(self.now) + 604_800),
            identity=Identity(user),
            sid=sid,
            issued_at=int(self.now),
            authenticated_at=self.now,
            used_at=int(self.now),
        )
        self.index.record(session, agent, "192.0.2.1")
        return session

    def use(self, session: Session, address: str = "192.0.2.1") -> Session:
        used = replace(session, used_at=int(self.now))
        self.index.record(used, "Firefox", address)
        return used

    def record_known(self, session: Session) -> None:
        """Read the entry of a session, and then record a use of the session."""
        self.index.record(session, "Firefox", "192.0.2.1", self.index.find(session))

    def listed(self, user: int | str = 1) -> list[str]:
        return [each.session.sid for each in self.index.of(user)]
