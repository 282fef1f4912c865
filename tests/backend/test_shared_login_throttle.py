"""Processes that share a Redis count failed sign-ins together."""

from authapp.issuer import main as issuer
from servers import ISSUER_SETTINGS, LOGIN, Served
from servers.redis_server import RedisServer, patient
from site_under_test import SECRET, Site


def test_failed_sign_ins_are_counted_across_processes(redis_server: RedisServer) -> None:
    with Served(issuer({}, **ISSUER_SETTINGS)) as backend:
        sites = [
            Site(backend.url, shared=patient(redis_server.url), login__rate="4/minute")
            for _ in range(2)
        ]
        for site in (*sites, *sites):
            site.sign_in("bob", "wrong", status=401)
        for site in sites:
            site.sign_in("bob", status=429)
        assert backend.calls[LOGIN] == 4
        assert all(b"bob" not in key for key in redis_server.client.scan_iter())
        redis_server.stop()
        for _ in range(4):
            sites[0].sign_in("carol", "wrong", status=401)
        sites[0].sign_in("carol", status=429)
        sites[0].sign_in("bob", status=303)
        redis_server.start()
        for site in sites:
            site.services.store._connection.client.connection_pool.disconnect()


def test_failed_sign_ins_are_counted_across_processes_while_secrets_change(
    backend: Served, redis_server: RedisServer
) -> None:
    """During a rotation of the secret, some processes already have the new settings. All processes
    share the counters of failed sign-ins. The test makes the first and the last step of the
    rotation in docs/operations.md."""
    old, new = SECRET, SECRET[::-1]
    for user, secrets in (("bob", (old, f"{old}\n{new}")), ("carol", (f"{new}\n{old}", new))):
        sites = [
            Site(
                backend.url, shared=patient(redis_server.url), login__rate="4/minute", secret=secret
            )
            for secret in secrets
        ]
        for site in (*sites, *sites):
            site.sign_in(user, "wrong", status=401)
        for site in sites:
            site.sign_in(user, status=429)
            site.services.store._connection.client.connection_pool.disconnect()


def test_r11_garbage_in_a_counter_does_not_block_sign_in(
    backend: Served, redis_server: RedisServer
) -> None:
    """Threat R11. Sign-in works even if another program has overwritten the counters in Redis."""
    site = Site(backend.url, shared=patient(redis_server.url))
    site.sign_in("alice", "wrong", status=401)
    counters = redis_server.client.keys("*limit*")
    assert counters
    for key in counters:
        redis_server.client.set(key, b"garbage")
    site.sign_in(status=303)
    site.services.store._connection.client.connection_pool.disconnect()
