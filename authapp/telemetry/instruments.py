"""The OpenTelemetry instruments, which measure an application."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.trace import SpanKind, Status, StatusCode

from authapp.backend.observation import Facts
from authapp.backend.protocol import BackendChallenge, BackendRejected
from authapp.services import Services
from authapp.session.error_codes import SIGNED_OUT
from authapp.version import __version__
from authapp.web.events import SessionEnded, SignedIn, SignedOut, SignInFailed

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""The bounds of the buckets of durations, in seconds."""

_KINDS = {"renewal": SpanKind.INTERNAL, "backend.call": SpanKind.CLIENT}


class Instruments:
    """Counts events, and observes renewals, calls of the backend, circuit breakers and the store.

    The measurements go to the OpenTelemetry providers that the application sets globally. The
    application may set these providers later.
    """

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("authapp", __version__)
        self._meter = metrics.get_meter("authapp", __version__)
        self._sign_ins = self._meter.create_counter(
            "authapp.sign_ins", "{sign-in}", "Attempts to sign in, by result and error code"
        )
        self._ended = self._meter.create_counter(
            "authapp.sessions.ended", "{session}", "Sessions that ended, by code"
        )
        self._durations = {
            what: self._meter.create_histogram(
                f"authapp.{what}.duration",
                "s",
                description,
                explicit_bucket_boundaries_advisory=SECONDS,
            )
            for what, description in (
                ("renewal", "Renewals that requests needed, by outcome"),
                ("backend.call", "Calls of the backend, by verb"),
            )
        }

    def observe(self, services: Services) -> None:
        """Observe the services of an application."""

        def backend_up(options: CallbackOptions) -> Iterable[Observation]:
            for verb, breaker in services.backend.breakers.items():
                yield Observation(int(breaker.closed), {"verb": verb})

        def store_up(options: CallbackOptions) -> Iterable[Observation]:
            yield Observation(int(services.store.healthy()))

        services.backend.observer = self._during
        self._meter.create_observable_gauge(
            "authapp.backend.up", [backend_up], "", "Whether the circuit breaker is closed"
        )
        self._meter.create_observable_gauge(
            "authapp.store.up", [store_up], "", "Whether the shared store is up"
        )

    @contextmanager
    def _during(self, what: str, facts: Facts) -> Iterator[None]:
        """Measure a renewal or a call of the backend, and put it into a span.

        After an exception, the span gets the status ERROR. But if the backend refuses a password or
        token, or asks for a second step, the span is not an error, because such a response is
        normal. Only the type of an exception is recorded, because its text may contain secrets.
        """
        began = time.perf_counter()
        with self._tracer.start_as_current_span(
            f"authapp.{what}",
            kind=_KINDS[what],
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as error:
                facts["error.type"] = type(error).__name__
                if not isinstance(error, BackendRejected | BackendChallenge):
                    span.set_status(Status(StatusCode.ERROR))
                raise
            finally:
                span.set_attributes(facts)
                self._durations[what].record(time.perf_counter() - began, facts)

    def signed_in(self, event: SignedIn) -> None:
        """Count a sign-in."""
        self._sign_ins.add(1, {"result": "success"})

    def sign_in_failed(self, event: SignInFailed) -> None:
        """Count a sign-in that failed."""
        self._sign_ins.add(1, {"result": "failure", "code": event.code.value})

    def session_ended(self, event: SessionEnded) -> None:
        """Count a session that ended without a sign-out in its browser."""
        self._ended.add(1, {"code": event.code.value})

    def signed_out(self, event: SignedOut) -> None:
        """Count a sign-out."""
        self._ended.add(1, {"code": SIGNED_OUT})
