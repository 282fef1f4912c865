"""A process starts the thread that receives notices with its first request, also after a fork."""

import os
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

import pytest

from authapp.store import redis_notices
from eventually import eventually
from servers.redis_server import RedisServer
from store import listeners
from store.listeners import A, alive

process = listeners.process


def test_the_thread_ends_when_no_request_needs_it(
    process: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_notices, "IDLE", 0.3)
    one = process()
    thread = one._notices.thread
    eventually(lambda: not thread.is_alive())
    assert one.recall(A) == [None]
    eventually(lambda: alive(one))
    assert one._notices.thread is not thread


def test_a_request_is_answered_although_no_thread_can_be_started(
    process: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = process(told=False)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as few:
        few.setattr(threading.Thread, "start", refuse)
        assert one.recall(A) == [None]
        assert not alive(one)
    eventually(lambda: alive(one))


def test_a_forked_process_asks_and_then_listens_by_itself(process: Any) -> None:
    """A forked process has a copy of its parent's cache of what Redis contains. The forked process
    must not use this copy."""
    one, two = process(), process()
    assert one.recall(A) == [None]
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        status = 1
        with suppress(BaseException):
            os.write(ready[1], b"x")
            os.read(go[0], 1)
            assert one.recall(A) == ["1"]
            eventually(lambda: alive(one))
            assert one.recall(A) == ["1"]
            status = 0
        os._exit(status)
    os.read(ready[0], 1)
    two.put(A, "1", 60, notify=True)
    os.write(go[1], b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for end in (*ready, *go):
        os.close(end)


@pytest.mark.parametrize("shared", ["memory:", "redis"])
def test_no_thread_is_started_before_the_first_request(
    redis_server: RedisServer, shared: str
) -> None:
    """No thread is started before the first request. uWSGI and gunicorn (with ``--preload``) create
    the application before they fork, and a fork does not copy threads."""
    code = (
        "import sys, threading, authapp\n"
        "from site_under_test import settings\n"
        "authapp.main({}, **settings('http://backend.invalid', shared=sys.argv[1]))\n"
        "print(threading.active_count())\n"
    )
    url = redis_server.url if shared == "redis" else shared
    words = [sys.executable, "-c", code, url]
    env = {**os.environ, "PYTHONPATH": "tests"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=env, check=True)
    assert done.stdout == "1\n"
