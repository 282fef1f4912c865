"""Random walks through a site. An oracle (a model) knows which outcomes each step may have.

Only the rules of the test move the wall clock, so the oracle knows the exact phase of each session.
The store uses the monotonic clock, which no rule moves. So no successor expires during the test.

The oracle is in renewal/oracle.py.
"""

import copy
from functools import partial
from http.cookiejar import Cookie
from typing import Any

import pytest
from hypothesis import HealthCheck, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from authapp.issuer import main as issuer
from eventually import eventually
from renewal.oracle import (
    ANONYMOUS,
    BROWSERS,
    ENDED,
    ILLNESSES,
    KEPT,
    SIGNED_IN,
    SPOILED,
    UNAVAILABLE,
    USERS,
    Life,
    World,
)
from renewal.phases import ACCESS, BUFFER, WINDOW
from servers import ISSUER_SETTINGS, Served
from site_under_test import COOKIE

STEPS = (1, 10, BUFFER + 1, ACCESS - BUFFER, ACCESS - 1, ACCESS, 3_600, 86_400, WINDOW - 1, WINDOW)
"""The numbers of seconds by which a rule can move the clock."""


class Sessions(World, RuleBasedStateMachine):
    """The steps of a random walk, and a check after each of them.

    :param illness: the kind of fault that the backend can have.
    """

    copies = Bundle("copies")

    def __init__(self, backend: Served, illness: str) -> None:
        RuleBasedStateMachine.__init__(self)
        World.__init__(self, backend, illness)
        self.patient = False

    # Rules.

    @initialize(patient=st.booleans())
    def some_are_signed_in(self, patient: bool) -> None:
        self.patient = patient
        for number, user in ((0, "alice"), (1, "alice"), (2, "bob")):
            self.sign_in(number, user)

    @rule(number=st.sampled_from(BROWSERS), user=st.sampled_from(USERS))
    def sign_in(self, number: int, user: str) -> None:
        browser = self.browsers[number]
        if self.visit(browser, "/login") == SIGNED_IN:
            return
        doubt = self.in_doubt()
        form = self.send(browser, "GET", "/login").forms
        if not form:
            return  # The backend came up again between the two requests.
        fields = {
            "csrf_token": form[0]["csrf_token"].value,
            "username": user,
            "password": f"{user}-password",
        }
        answer = self.send(browser, "POST", "/login", POST=fields)
        if self.fault in UNAVAILABLE or answer.status_int == 503:
            assert self.fault in UNAVAILABLE or doubt
            assert answer.status_int == 503
            return
        assert answer.status_int == 303
        session = self.site.services.sealer.open(browser.token())
        assert session.sid not in self.lives
        assert session.identity.name == user
        head = self.held(browser)
        assert head is not None
        now = int(self.now)
        assert head[1:] == (now, now + ACCESS, now + WINDOW)
        self.lives[session.sid] = Life(user, "", head)
        answer = self.send(browser, "GET", "/session")
        self.lives[session.sid].csrf = answer.json["csrf_token"]
        assert answer.json["user"]["email"] == f"{user}@example.com"

    @rule(number=st.sampled_from(BROWSERS), path=st.sampled_from(["/", "/account", "/login"]))
    def open_a_page(self, number: int, path: str) -> None:
        self.visit(self.browser_with_session(number), path)

    @rule(path=st.sampled_from(["/", "/account"]))
    def everybody_opens_a_page(self, path: str) -> None:
        for browser in self.browsers:
            self.visit(browser, path)

    @rule(number=st.sampled_from(BROWSERS))
    def ask_who_is_signed_in(self, number: int) -> None:
        browser = self.browsers[number]
        life, possible = self.life(browser), self.possible(browser)
        answer = self.send(browser, "GET", "/session")
        assert answer.status_int == 200
        if answer.json["user"] is not None:
            assert SIGNED_IN in possible
            assert life is not None
            assert answer.json["user"]["email"] == f"{life.user}@example.com"
            return
        outcomes = {None: ANONYMOUS, "BackendUnavailable": KEPT}
        outcome = outcomes.get(answer.json["error"], ENDED)
        assert outcome in possible
        assert (COOKIE in browser.cookies) is (outcome == KEPT)

    @rule(number=st.sampled_from(BROWSERS))
    def renew_now(self, number: int) -> None:
        browser = self.browser_with_session(number)
        life, held = self.life(browser), self.held(browser)
        doubt, possible = self.in_doubt(), self.possible(browser, renew_now=True)
        before = life and life.head
        headers = {"X-CSRF-Token": life.csrf if life else "", "Accept": "application/json"}
        answer = self.send(browser, "POST", "/session", headers=headers)
        if answer.status_int == 200:
            assert SIGNED_IN in possible
            assert life is not None
            assert answer.json["user"]["email"] == f"{life.user}@example.com"
            assert self.held(browser) == life.head
            assert life.head != held, "the tokens are newer than before"
        elif answer.status_int == 503:
            assert self.fault in UNAVAILABLE or self.fault == SPOILED or doubt
            assert possible & {SIGNED_IN, KEPT}
            assert life is self.life(browser)
            assert life is not None
            assert self.held(browser) in (held, before, life.head)
        else:
            assert answer.status_int == 401
            assert possible & {ENDED, ANONYMOUS}
            assert COOKIE not in browser.cookies

    @rule(number=st.sampled_from(BROWSERS), everywhere=st.sampled_from([False, False, True]))
    def sign_out(self, number: int, everywhere: bool) -> None:
        browser = self.browser_with_session(number)
        life, held = self.life(browser), self.held(browser)
        fields = {"csrf_token": life.csrf if life else ""} | (
            {"everywhere": "1"} if everywhere else {}
        )
        before = len(self.calls)
        answer = self.send(browser, "POST", "/logout", POST=fields)
        assert answer.status_int == 303
        assert answer.location == "/login?reason=SignedOut"
        assert COOKIE not in browser.cookies
        assert len(self.calls) == before, "a sign-out does not renew the session"
        if life is None or held is None or life.signed_out or held.refresh_until <= self.now:
            return
        life.signed_out = True
        for other in self.lives.values():
            if everywhere and other.user == life.user:
                other.signed_out = True

    @rule(target=copies, number=st.sampled_from(BROWSERS))
    def keep_a_copy(self, number: int) -> Any:
        browser = self.browser_with_session(number)
        if self.held(browser) is None:
            return multiple()
        (cookie,) = (each for each in browser.cookiejar if each.name == COOKIE)
        kept = copy.copy(cookie)
        kept.expires, kept.discard = None, True  # A copy never expires.
        return kept

    @rule(cookie=copies, number=st.sampled_from(BROWSERS))
    def put_a_copy_into_a_browser(self, cookie: Cookie, number: int) -> None:
        self.browsers[number].cookiejar.set_cookie(cookie)

    @rule(here=st.sampled_from(BROWSERS), there=st.sampled_from(BROWSERS))
    def a_browser_becomes_the_twin_of_another(self, here: int, there: int) -> None:
        if here != there:
            self.browsers[there] = self.browsers[here].twin()

    @rule(seconds=st.sampled_from(STEPS))
    def time_passes(self, seconds: int) -> None:
        self.clock.shift(seconds)

    @rule(seconds=st.integers(1, 2 * ACCESS))
    def some_time_passes(self, seconds: int) -> None:
        self.clock.shift(seconds)

    @rule(
        seconds=st.sampled_from([0, ACCESS - BUFFER, ACCESS, ACCESS]),
        path=st.sampled_from(["/", "/account", "/account", "/login"]),
    )
    def the_backend_goes_wrong(self, seconds: int, path: str) -> None:
        if not any(self.held(browser) for browser in self.browsers):
            self.sign_in(0, "alice")
        self.fault = self.illness
        self.clock.shift(seconds)
        for browser in self.browsers:
            self.visit(browser, path)

    @rule()
    def the_backend_is_well(self) -> None:
        self.fault = None

    # Checks after every step.

    @invariant()
    def what_was_signed_out_never_comes_back(self) -> None:
        dead = [cookie for cookie, life in self.seen.items() if life.signed_out]
        for cookie in (*dead[:1], *dead[-2:]):
            headers = {"Cookie": f"{COOKIE}={cookie}"}
            answer = self.send(self.stranger, "GET", "/session", headers=headers)
            assert answer.json["user"] is answer.json["validity"] is None
            assert answer.json["error"] == "SessionRevoked"

    def teardown(self) -> None:
        """Switch the fault off, and check that each session that has not ended is signed in
        again."""
        try:
            self.fault = None
            left = 10.0
            for browser in self.browsers if self.patient else ():
                life, held = self.life(browser), self.held(browser)
                if life is None or held is None or life.signed_out or life.rejected:
                    continue
                if held.refresh_until > self.now:
                    visit = partial(self.visit, browser, "/account")
                    left -= eventually(lambda visit=visit: visit() == SIGNED_IN, left)
        finally:
            self.traveller.stop()
            self.backend.instead = {}


@pytest.mark.parametrize("illness", ILLNESSES)
def test_random_walks_match_the_oracle(illness: str) -> None:
    users = ISSUER_SETTINGS["issuer.users"] + "mallory mallory-password mallory@example.com\n"
    with Served(issuer({}, **{**ISSUER_SETTINGS, "issuer.users": users})) as backend:
        run_state_machine_as_test(
            seed(ILLNESSES.index(illness))(lambda: Sessions(backend, illness)),
            settings=hypothesis_settings(
                max_examples=5,
                stateful_step_count=50,
                deadline=None,
                database=None,
                print_blob=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
