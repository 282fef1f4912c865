"""The store keeps the outcome of each spent refresh token."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import time_machine
from webob import Response as Answer

from authapp.renewal.outcomes import Rejected, Renewed
from authapp.renewal.successors import Successors
from authapp.session.error_codes import ErrorCode
from authapp.session.session import Session, TokenPair, Validity
from authapp.store.memory import MemoryStore
from authapp.store.protocol import Key
from renewal.phases import DUE, EXPIRED, later, page
from servers import NOT_VALID, REFRESH, Served
from session.test_session import NOW, make
from site_under_test import COOKIE, Site


def test_stored_strings_sort_rejection_first_and_later_successor_last() -> None:
    """When two stores are merged, the greater string is kept (see ``Store.put``). So a successor
    must be greater than a rejection, and a later successor greater than an earlier one."""
    session, texts = make(), []
    for outcome in (
        Rejected(ErrorCode.REFRESH_TOKEN_REJECTED, "no"),
        *(
            Renewed(session.renewed(session.identity, session.tokens, Validity(until, until), now))
            for now, until in ((NOW + 9, NOW + 900), (NOW + 10, NOW + 100))
        ),
    ):
        shared = MemoryStore()
        Successors(shared, 60).keep(session, outcome)
        texts += [text for _, text, _ in shared.living()]
    assert texts == sorted(texts)
    assert len(set(texts)) == 3


ACCESS, REUSE, HOUR = 900, 60, 3600


class Clock:
    """The wall clock and the store's clock. They move together."""

    def __init__(self) -> None:
        self.traveller = time_machine.travel(NOW, tick=False)
        self.day = self.traveller.start()
        self.store = MemoryStore(lambda: time.time() - NOW)
        self.successors = Successors(self.store, REUSE)

    def renew(self, session: Session, after: float, refresh: str, until: float) -> Session:
        """Renew a session, and store the successor.

        :param after: the seconds between NOW and the renewal.
        :param until: the seconds between NOW and the expiry of the new access token.
        """
        self.day.move_to(NOW + after)
        successor = session.renewed(
            session.identity,
            TokenPair(f"access of {refresh}", refresh),
            Validity(int(NOW + until), session.validity.refresh_until),
            NOW + after,
        )
        self.successors.keep(session, Renewed(successor))
        return successor

    def finds(self, session: Session, after: float) -> TokenPair:
        """Move the clock to ``after`` seconds after NOW. Then return the newest tokens that the
        store has for a session."""
        self.day.move_to(NOW + after)
        newest = self.successors.newest(session)
        assert isinstance(newest, Session)
        return newest.tokens


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock()
    yield clock
    clock.traveller.stop()


@pytest.mark.parametrize(
    ("renewed", "brought", "kept_until"),
    [
        (610, None, 610 + HOUR + REUSE),  # the response with the new cookie was lost
        (610, 611, ACCESS + REUSE),  # the old access token is valid until ACCESS
        (905, 906, 906 + REUSE),
        (905, 2000, 2000 + REUSE),
        (604_000, None, 604_800 + REUSE),  # the old session ends with its refresh token
    ],
)
def test_successor_is_kept_while_the_old_cookie_can_come_back(
    clock: Clock, renewed: float, brought: float | None, kept_until: float
) -> None:
    session = make()
    successor = clock.renew(session, renewed, "second", renewed + ACCESS)
    clock.successors.brought(session)  # the old cookie changes nothing
    if brought is not None:
        clock.day.move_to(NOW + brought)
        clock.successors.brought(successor)
    assert clock.finds(session, kept_until - 1) == successor.tokens
    assert clock.finds(session, kept_until + 1) == session.tokens


def test_successor_of_a_refresh_token_that_is_not_rotated_is_kept_for_an_hour(clock: Clock) -> None:
    """If the backend issues no new refresh token, all successors of a session have the same key.
    A request that brings the second successor does not shorten the hour of the third, or replace
    the third."""
    session = make()
    second = clock.renew(session, 610, "refresh", 1500)
    third = clock.renew(second, 1210, "refresh", 2100)
    clock.successors.brought(second)
    assert clock.finds(session, 1210 + HOUR) == third.tokens


def test_older_outcome_of_a_refresh_token_that_is_not_rotated_is_ignored(clock: Clock) -> None:
    """If the backend issues no new refresh token, all outcomes of a session have the same key. If
    the store has an outcome that is older than the session in the cookie, it is ignored."""
    session = make()
    older = clock.renew(session, 10, session.tokens.refresh, 900)
    tokens = TokenPair("the last access token", session.tokens.refresh)
    last = older.renewed(older.identity, tokens, older.validity, NOW + 20)
    assert clock.finds(last, 30) == tokens


def test_successor_is_kept_for_an_hour_if_another_process_gets_the_new_cookie(clock: Clock) -> None:
    session = make()
    successor = clock.renew(session, 905, "second", 1805)
    Successors(clock.store, REUSE).brought(successor)
    assert clock.finds(session, 905 + HOUR) == successor.tokens


def test_each_successor_is_stored_again_once(clock: Clock) -> None:
    session = make()
    successor = clock.renew(session, 905, "second", 1805)
    clock.successors.brought(successor)
    clock.day.move_to(NOW + 905 + REUSE - 1)
    clock.successors.brought(successor)
    assert clock.finds(session, 905 + REUSE + 1) == session.tokens


def test_a_process_awaits_a_bounded_number_of_successors(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("authapp.renewal.successors._MOST_AWAITED", 2)
    sessions = [replace(make(), sid=f"{n}", tokens=TokenPair("a", f"{n}")) for n in range(3)]
    successors = [clock.renew(each, 905, f"{each.sid} new", 1805) for each in sessions]
    for each in successors:
        clock.successors.brought(each)
    found = [clock.finds(each, 905 + REUSE + 1) for each in sessions]
    assert found == [each.tokens for each in (successors[0], *sessions[1:])]


def test_a_process_recalls_the_successors_of_a_limited_number_of_sessions() -> None:
    successors = Successors(MemoryStore(), REUSE)
    for number in range(1500):
        tokens = TokenPair(f"access {number}", f"refresh {number}")
        session = replace(make(), sid=f"session {number}", tokens=tokens)
        new = replace(session, tokens=TokenPair(f"new access {number}", f"new refresh {number}"))
        successors.keep(session, Renewed(new))
        for _ in range(2):
            found = successors.recall(session).successor
            assert isinstance(found, Session)
            assert found.tokens == new.tokens
    assert len(successors._found) <= 1024


def test_a_session_whose_backend_keeps_the_refresh_token_is_read_each_time() -> None:
    """If the backend issues no new refresh token, each later renewal stores its outcome under the
    same key. So a process reads this key from the store each time, and sees a new failure at
    once."""
    successors, session = Successors(MemoryStore(), REUSE), make()
    tokens = TokenPair("new access", session.tokens.refresh)
    successors.keep(session, Renewed(replace(session, tokens=tokens)))
    found = successors.recall(replace(session, tokens=tokens))
    assert (found.successor is not None, found.failed) == (True, None)
    successors.keep_failure(session, "down", 9)
    assert successors.recall(replace(session, tokens=tokens)).failed == "down"


def key_of(session: Session) -> Key:
    """Return the key of the store for the successor of a session."""
    return Key("spent refresh token", session.tokens.refresh)


def test_the_old_cookie_gets_the_successor(site: Site, backend: Served) -> None:
    site.sign_in()
    first = site.twin()
    with later(EXPIRED):
        page(site, status=200)
        second = site.twin()
        site.post("/session", headers={"X-CSRF-Token": site.csrf()})
        for older in (first, second):
            page(older, status=200)
    assert backend.calls[REFRESH] == 2
    # The first cookie is two renewals old. It still gets the newest tokens.
    assert first.opened().tokens == site.opened().tokens


def test_old_cookie_is_cleared_when_its_successor_was_rejected(site: Site, backend: Served) -> None:
    site.sign_in()
    older = site.twin()
    with later(EXPIRED):
        page(site, status=200)
        backend.instead[REFRESH] = Answer(status=401, json_body=NOT_VALID)
        site.post("/session", headers={"X-CSRF-Token": site.csrf()}, status=401)
        assert "reason=RefreshTokenRejected" in page(older, status=303).location
        assert COOKIE not in older.cookies


@pytest.mark.parametrize(
    "text", ['{"code": "New", "reason": ""}', "{}", "[]", "x", '{"session": {}}']
)
def test_unreadable_successor_entry_is_ignored_and_logged(
    site: Site, backend: Served, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    site.sign_in()
    key = Key("spent refresh token", site.opened().tokens.refresh)
    site.services.store.put(key, text, 60)
    copy = site.twin()
    with later(DUE):
        site.sign_out()
        assert "SessionRevoked" in page(copy, status=303).location
    assert "SuccessorUnreadable" in caplog.text


def test_old_cookie_is_rejected_when_its_successor_is_no_longer_kept(backend: Served) -> None:
    site = Site(backend.url)
    site.sign_in()
    older, session = site.twin(), site.opened()
    with later(EXPIRED):
        page(site, status=200)
        page(site, status=200)  # this request brings the new cookie
        (seconds,) = [
            left for key, _, left in site.services.store.living() if key == key_of(session)
        ]
        assert seconds <= 60
        site.services.store.put(key_of(session), "", 0)
        assert "reason=RefreshTokenRejected" in page(older, status=303).location


def test_rejection_is_shared_with_copies_of_the_session(site: Site, backend: Served) -> None:
    site.sign_in()
    copy = site.twin()
    backend.instead[REFRESH] = Answer(status=401, json_body=NOT_VALID)
    with later(EXPIRED):
        page(site, status=303)
        page(copy, status=303)
    assert backend.calls[REFRESH] == 1
