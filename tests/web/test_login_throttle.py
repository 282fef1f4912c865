"""Failed sign-ins are counted by name and by address, and too many get a 429 (threat S8)."""

import logging

import pytest
from webob import Response

from servers import LOGIN, Served
from site_under_test import Site


def test_too_many_failed_sign_ins_get_a_429(backend: Served) -> None:
    site = Site(backend.url, login__rate="2/minute")
    for _ in range(2):
        site.sign_in("alice", "wrong", status=401)
    refused = site.sign_in("alice", status=429)
    assert "TooManyAttempts" in refused.text
    assert 0 < int(refused.headers["Retry-After"]) <= 61
    assert backend.calls[LOGIN] == 2
    for spelled in ("ALICE", "Alice ", "\uff41lice"):
        site.sign_in(spelled, status=429)
    Site(wsgi=site.app).sign_in("bob", status=303)
    # The owner of the account has another address and is not locked out.
    site.extra_environ["REMOTE_ADDR"] = "192.0.2.1"
    site.sign_in("alice", status=303)


def from_address(site: Site, address: str) -> Site:
    other = Site(wsgi=site.app)
    other.extra_environ["REMOTE_ADDR"] = address
    return other


def test_s8_one_address_is_blocked_after_failures_for_many_users(backend: Served) -> None:
    site = Site(backend.url, login__rate="1/minute")
    for number in range(10):
        site.sign_in(f"user{number}", "wrong", status=401)
    site.sign_in("alice", status=429)
    from_address(site, "192.0.2.1").sign_in("alice", status=303)


def test_s8_one_user_is_blocked_after_failures_from_many_addresses(backend: Served) -> None:
    site = Site(backend.url, login__rate="1/minute")
    for number in range(100):
        from_address(site, f"192.0.2.{number}").sign_in("alice", "wrong", status=401)
    from_address(site, "198.51.100.1").sign_in("alice", status=429)
    from_address(site, "198.51.100.1").sign_in("bob", status=303)


def test_s8_only_failed_sign_ins_are_counted(backend: Served) -> None:
    site = Site(backend.url, login__rate="1/minute")
    for _ in range(3):
        Site(wsgi=site.app).sign_in("alice", status=303)
    site.sign_in("alice", "wrong", status=401)
    site.sign_in("alice", status=429)


@pytest.mark.parametrize(
    "answer",
    [
        Response(status=500),
        Response(status=401, text="Unauthorized"),
        Response(status=422, json_body={"message": "bad"}),
        Response(status=404, json_body={"message": "User not found"}),
        Response(status=200, json_body={"code": 401, "msg": "bad"}),
        Response(status=200, json_body={"access": "no JWT", "refresh": "x"}),
        Response(status=503, headers={"Retry-After": "1"}),
    ],
    ids=str,
)
def test_s8_guess_is_counted_for_any_response_of_the_backend(
    backend: Served, answer: Response
) -> None:
    site = Site(backend.url, login__rate="1/minute")
    backend.instead[LOGIN] = answer
    site.sign_in("alice", "guess", status=503)
    del backend.instead[LOGIN]
    site.sign_in("alice", status=429)


def test_s8_sign_ins_are_not_counted_when_the_backend_is_unreachable() -> None:
    site = Site("http://127.0.0.1:1", login__rate="1/minute")
    for _ in range(3):
        site.sign_in("alice", status=503)


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", 429),
        ("2001:db8::1", "2001:db8:0:1::1", 401),
        ("::ffff:192.0.2.1", "192.0.2.1", 429),
        ("unix:", "unix:", 429),
    ],
)
def test_s8_an_ipv6_address_counts_by_its_network(
    backend: Served, first: str, second: str, status: int
) -> None:
    site = Site(backend.url, login__rate="1/minute")
    site.extra_environ["REMOTE_ADDR"] = first
    site.sign_in("alice", "wrong", status=401)
    site.extra_environ["REMOTE_ADDR"] = second
    site.sign_in("alice", "wrong", status=status)


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        ({"REMOTE_ADDR": "192.0.2.1:5001"}, {"REMOTE_ADDR": "192.0.2.1:5002"}, 429),
        ({"REMOTE_ADDR": "[2001:db8::1]:5001"}, {"REMOTE_ADDR": "[2001:db8::2]:5002"}, 429),
        ({"REMOTE_ADDR": "[2001:db8::1]"}, {"REMOTE_ADDR": "2001:db8::1"}, 429),
        # What waitress makes of X-Forwarded-For: ::ffff:192.0.2.1
        (
            {"REMOTE_ADDR": "::ffff", "REMOTE_PORT": "192.0.2.1"},
            {"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "5001"},
            429,
        ),
        (
            {"REMOTE_ADDR": "::ffff", "REMOTE_PORT": "192.0.2.1"},
            {"REMOTE_ADDR": "::ffff", "REMOTE_PORT": "192.0.2.2"},
            401,
        ),
    ],
)
def test_s8_each_spelling_of_an_address_counts_as_one_address(
    backend: Served, first: dict[str, str], second: dict[str, str], status: int
) -> None:
    site = Site(backend.url, login__rate="1/minute")
    site.extra_environ |= first
    site.sign_in("alice", "wrong", status=401)
    site.extra_environ |= second
    site.sign_in("alice", "wrong", status=status)


def test_s8_x_forwarded_for_header_is_ignored(
    backend: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "authapp.audit")
    site = Site(backend.url, login__rate="1/minute")
    site.extra_environ["REMOTE_ADDR"] = "192.0.2.1"
    for address, status in (("198.51.100.1", 401), ("198.51.100.2", 429)):
        site.extra_environ["HTTP_X_FORWARDED_FOR"] = address
        site.sign_in("alice", "wrong", status=status)
    assert "192.0.2.1" in caplog.text
    assert "198.51.100." not in caplog.text
