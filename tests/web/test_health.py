"""``/health`` tells whether the process, the backend and the store work: contract section 4."""

from webob import Response as Answer

from servers import Served
from site_under_test import Site


def test_health_reports_the_backend_and_the_store(site: Site, backend: Served) -> None:
    assert site.get("/health").json == {"status": "ok"}
    deep = site.get("/health?deep=1")
    assert deep.json == {"status": "ok", "backend": "ok", "shared": "ok"}
    backend.instead["/"] = lambda request: Answer(status=200, body=b"x" * 300_000)
    deep = site.get("/health?deep=1")
    assert deep.json == {"status": "ok", "backend": "ok", "shared": "ok"}, (
        "the last result is used again"
    )
    assert backend.calls["/"] == 1
    for answer in (backend.instead["/"], Answer(status=503, json_body={})):
        backend.instead["/"] = answer
        site.services.backend._reach_again = 0
        deep = site.get("/health?deep=1", status=503)
        assert deep.json == {"status": "down", "backend": "down", "shared": "ok"}
    assert site.services.backend.breaker.closed, "a health check must not open the circuit breaker"
    with site.services.backend._reaching:
        assert site.get("/health?deep=1", status=503), (
            "only one health check at a time calls the backend"
        )
    assert site.get("/health").json == {"status": "ok"}
