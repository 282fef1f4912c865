"""What operators see: metrics through the Prometheus exporter of OpenTelemetry, and spans."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import metrics, trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY, generate_latest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationExecutionError

from authapp import BackendRejected
from authapp.backend.observation import unobserved
from authapp.testing import MemoryBackend, sign_in, use_backend
from eventually import eventually
from site_under_test import Site, application

PATIENT = {"backend__timeout": "20", "backend__bulkhead": "8"}
"""Settings with long timeouts, so that a waiting request does not fail on a busy machine."""

SPANS = InMemorySpanExporter()


@pytest.fixture(scope="module")
def app() -> Iterator[Site]:
    """Yield an application that includes telemetry. The SDK of OpenTelemetry is set up after
    that."""
    app = application(
        "http://backend.invalid",
        lambda config: config.include("authapp.telemetry"),
        **PATIENT,
    )
    reader = PrometheusMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(SPANS))
    trace.set_tracer_provider(tracers)
    yield app
    metrics.get_meter_provider().shutdown()  # type: ignore[attr-defined]


@pytest.fixture
def site(app: Site, memory_backend: MemoryBackend) -> Site:
    memory_backend.timeout = 20
    memory_backend.add_user("alice", "alice-password", id=1)
    use_backend(app.app, memory_backend)
    SPANS.clear()
    return Site(wsgi=app.app)


def scraped() -> dict[str, float]:
    """Return the metrics of authapp: name and labels -> value."""
    series = {}
    for line in told().splitlines():
        if line.startswith("authapp_") and "_bucket" not in line:
            name, _, value = line.rpartition(" ")
            labels = [
                label
                for label in re.findall(r'(\w+="[^"]*")', name)
                if not label.startswith("otel_scope") and not label.endswith('=""')
            ]
            series[" ".join([name.partition("{")[0], *labels])] = float(value)
    return series


def told() -> str:
    """Return the text that Prometheus would get."""
    return generate_latest(REGISTRY).decode()


class Since:
    """How much each metric has grown since this object was created."""

    def __init__(self) -> None:
        self._before = scraped()

    def __getitem__(self, name: str) -> float:
        return scraped()[name] - self._before.get(name, 0)


def spans(name: str) -> list[ReadableSpan]:
    return [span for span in SPANS.get_finished_spans() if span.name == name]


def test_sign_ins_are_counted_by_result_and_code(site: Site, memory_backend: MemoryBackend) -> None:
    since = Since()
    site.sign_in("alice")
    site.reset()
    site.sign_in("alice", "wrong", status=401)
    memory_backend.fail("login")
    site.sign_in("alice", status=503)
    assert since['authapp_sign_ins_total result="success"'] == 1
    failed = 'authapp_sign_ins_total code="{}" result="failure"'
    assert since[failed.format("InvalidCredentials")] == 1
    assert since[failed.format("BackendUnavailable")] == 1
    calls = 'authapp_backend_call_duration_seconds_count error_type="BackendRejected" verb="login"'
    assert since[calls] == 1


def test_a_second_step_is_no_error(site: Site, memory_backend: MemoryBackend) -> None:
    memory_backend.add_user("carol", "carol-password", id=3, code="123456")
    form = site.sign_in("carol").follow().form
    form["code"] = "123456"
    form.submit(status=303)
    asked, answered = spans("authapp.backend.call")
    assert asked.status.is_ok
    assert asked.attributes == {"verb": "login", "error.type": "BackendChallenge"}
    assert answered.attributes == {"verb": "login"}


def test_a_renewal_is_measured_and_is_a_span_around_the_call(site: Site) -> None:
    since = Since()
    sign_in(site, phase="expired")
    site.get("/session")
    name = 'authapp_renewal_duration_seconds_{} joined="false" outcome="renewed"'
    assert since[name.format("count")] == 1
    assert 0 < since[name.format("sum")] < 5
    (renewal,), (call,) = spans("authapp.renewal"), spans("authapp.backend.call")
    assert renewal.attributes == {"outcome": "renewed", "joined": False}
    assert call.attributes == {"verb": "refresh"}
    assert call.parent is not None
    assert renewal.context is not None
    assert call.parent.span_id == renewal.context.span_id
    buckets = re.findall(r'authapp_renewal_duration_seconds_bucket.*le="([^"]+)"', told())
    assert {"0.005", "5.0", "30.0"} <= set(buckets)


def test_requests_that_wait_for_one_renewal_have_joined_it(
    site: Site, memory_backend: MemoryBackend
) -> None:
    since = Since()
    sign_in(site, phase="expired")
    bulkhead = site.services.backend.breaker.bulkhead
    threads = [threading.Thread(target=site.twin().get, args=["/session"]) for _ in range(3)]
    with memory_backend.held("refresh"):
        for thread in threads:
            thread.start()
        eventually(lambda: bulkhead._waiting == 3)
    for thread in threads:
        thread.join(10)
    name = 'authapp_renewal_duration_seconds_count joined="{}" outcome="renewed"'
    assert since[name.format("false")] == 1
    assert since[name.format("true")] == 2


def test_a_request_that_goes_on_while_another_renews_has_deferred(
    site: Site, memory_backend: MemoryBackend
) -> None:
    since = Since()
    sign_in(site, phase="due")
    leader = threading.Thread(target=site.twin().get, args=["/session"])
    with memory_backend.held("refresh"):
        leader.start()
        eventually(lambda: memory_backend.calls["refresh"])
        site.get("/account", status=200)
    leader.join(10)
    assert since['authapp_renewal_duration_seconds_count joined="true" outcome="deferred"'] == 1


def test_what_fails_is_told_without_a_word_of_the_exception(
    site: Site, memory_backend: MemoryBackend
) -> None:
    since = Since()
    memory_backend.fail("refresh", RuntimeError("a secret"))
    sign_in(site, phase="expired")
    site.get("/session")
    memory_backend.fail("refresh", BackendRejected("a secret"))
    sign_in(site, phase="expired")
    site.get("/session")
    outcomes = 'authapp_renewal_duration_seconds_count joined="false" outcome="{}"'
    assert since[outcomes.format("unavailable")] == 1
    assert since[outcomes.format("rejected")] == 1
    assert since['authapp_sessions_ended_total code="RefreshTokenRejected"'] == 1
    broken, rejected = spans("authapp.backend.call")
    assert broken.status.is_ok is False
    assert rejected.status.is_ok
    assert "secret" not in "".join(span.to_json() for span in SPANS.get_finished_spans())


def test_sessions_that_end_are_counted_by_code(site: Site) -> None:
    since = Since()
    sign_in(site, phase="ended")
    site.get("/account", status=303)
    sign_in(site)
    site.sign_out()
    assert since['authapp_sessions_ended_total code="RefreshTokenExpired"'] == 1
    assert since['authapp_sessions_ended_total code="SignedOut"'] == 1


def test_the_state_of_backend_and_store_is_read_at_each_scrape(
    site: Site, memory_backend: MemoryBackend
) -> None:
    from authapp import BackendDown

    up = 'authapp_backend_up verb="{}"'
    found = scraped()
    assert {name: found[name] for name in found if "_up" in name} == {
        up.format("refresh"): 1,
        up.format("login"): 1,
        up.format("logout"): 1,
        up.format("call"): 1,
        "authapp_store_up": 1,
    }
    memory_backend.fail("login", BackendDown("gone"))
    site.sign_in("alice", status=503)
    assert scraped()[up.format("login")] == 0
    assert scraped()[up.format("refresh")] == 1


def test_no_number_and_no_span_names_a_user(site: Site) -> None:
    session = sign_in(site, id=987654321, name="Zacharias", phase="expired")
    site.get("/session")
    site.sign_out()
    said = told() + "".join(span.to_json() for span in SPANS.get_finished_spans())
    for secret in ("987654321", "Zacharias", session.sid, session.digest, session.tokens.refresh):
        assert secret not in said


def test_telemetry_without_authapp_stops_start_up() -> None:
    config = Configurator()
    config.include("authapp.telemetry")
    with pytest.raises(ConfigurationExecutionError, match="include authapp too"):
        config.make_wsgi_app()


DOCUMENTED = """
import re
from pathlib import Path
from prometheus_client import REGISTRY, generate_latest
import authapp
from site_under_test import Site, settings

text = Path("docs/operations.md").read_text().partition("## Numbers and traces")[2]
python = text.partition("```python")[2].partition("```")[0]
ini = dict(re.findall("```ini\\n(.*) = (.*)\\n```", text))
exec(python.replace("9464", "0"))
site = Site(wsgi=authapp.main({}, **(settings("http://127.0.0.1:9") | ini)))
site.sign_in("alice", status=503)
told = generate_latest(REGISTRY).decode()
names = re.findall("`(authapp_[a-z_]+)`", text)
assert len(names) == 6, names
for name in names:
    if name not in ("authapp_renewal_duration_seconds", "authapp_sessions_ended_total"):
        assert name in told, (name, told)
"""


def run(source: str) -> None:
    """Run Python code in a separate process, because the providers of OpenTelemetry are global."""
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", source],
        cwd=root,
        env={"PYTHONPATH": f"{root}:{root / 'tests'}"},
        check=True,
        timeout=120,
    )


@pytest.mark.servers
def test_the_lines_of_the_documentation_export_the_names_that_it_lists() -> None:
    run(DOCUMENTED)


WITHOUT = """
import sys
from authapp.backend.observation import unobserved
from site_under_test import application

site = application("http://backend.invalid")
assert site.services.backend.observer is unobserved
assert not [name for name in sys.modules if "telemetry" in name], sys.modules
"""


@pytest.mark.servers
def test_an_application_that_does_not_ask_for_telemetry_imports_none_of_it() -> None:
    run(WITHOUT)


def test_without_the_api_nothing_happens_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delitem(sys.modules, "authapp.telemetry.instruments", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    caplog.set_level("INFO")
    site = application("http://backend.invalid", lambda config: config.include("authapp.telemetry"))
    assert site.services.backend.observer is unobserved
    assert "TelemetryOff: pip install 'authapp[opentelemetry]' turns it on" in caplog.messages
    site.get("/login")
