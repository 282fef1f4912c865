"""Fixtures: two sites that share a Redis, and a process with an index of sessions."""

from typing import Any

import pytest

from authapp.store.memory import MemoryStore
from renewal.index_machine import Machine
from servers import Served
from servers.redis_server import RedisServer, patient
from site_under_test import Site


@pytest.fixture
def sites(backend: Served, redis_server: RedisServer, request: pytest.FixtureRequest) -> Any:
    """Yield two applications, each with a browser. Both browsers have the same signed-in
    session."""
    patience = getattr(request, "param", "120")
    made = [
        Site(backend.url, shared=patient(redis_server.url), shared__patience=patience)
        for _ in range(2)
    ]
    made[0].sign_in()
    for cookie in made[0].cookiejar:
        made[1].cookiejar.set_cookie(cookie)
    yield made
    for site in made:
        site.services.store._connection.client.connection_pool.disconnect()


@pytest.fixture
def machine() -> Machine:
    return Machine(MemoryStore())
