"""A real Redis for tests, to be stopped, paused and started again."""

import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
import redis

from authapp.shared.redis import MARK
from eventually import eventually

PROGRAM = shutil.which("redis-server")


class RedisServer:
    """A Redis on a free port, without persistence."""

    def __init__(self, folder: Path) -> None:
        if PROGRAM is None:
            pytest.skip("redis-server is not installed; see .ci/packages")
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.address = f"127.0.0.1:{self._port}"
        self.url = f"redis://{self.address}/0"
        self.client = redis.Redis.from_url(self.url)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        assert PROGRAM
        self._process = subprocess.Popen(
            [PROGRAM, "--port", str(self._port), "--save", "", "--dir", str(self._folder)],
            stdout=subprocess.DEVNULL,
        )
        eventually(self._answers)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False

    def keys(self) -> list[bytes]:
        """What is kept in it, without the mark that tells whether it has forgotten all."""
        return [key for key in self.client.scan_iter(count=1000) if key != MARK]

    def stop(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """It accepts connections and answers nothing."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.client.close()
        self.stop()
