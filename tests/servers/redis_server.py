"""A real Redis for tests. A test can stop it, pause it and start it again."""

import shutil
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from authapp.store.redis_inspection import PROCESSES
from authapp.store.resync import EPOCH
from eventually import eventually

PROGRAM = shutil.which("redis-server")


def patient(url: str, seconds: int = 1) -> str:
    """Add a timeout to the URL of a Redis: ``seconds`` for each command. The usual quarter of a
    second is too short if the machine is busy with other tests."""
    return f"{url}{'&' if '?' in url else '?'}socket_timeout={seconds}"


class RedisServer:
    """A Redis server on a free port, without persistence."""

    def __init__(self, folder: Path) -> None:
        if PROGRAM is None:
            pytest.skip("redis-server is not installed; see .ci/packages")
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"redis://{self.address}/0"
        self.client = redis.Redis.from_url(self.url)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        assert PROGRAM
        self._process = subprocess.Popen(
            [PROGRAM, "--port", str(self.port), "--save", "", "--dir", str(self._folder)],
            stdout=subprocess.DEVNULL,
        )
        eventually(self._answers)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False

    def keys(self) -> list[bytes]:
        """Return all keys, except the epoch marker and the set of the processes' fingerprints."""
        return [key for key in self.client.scan_iter(count=1000) if key not in (EPOCH, PROCESSES)]

    def stop(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Make Redis accept connections, but not respond."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.client.close()
        self.stop()


class Address:
    """An address that forwards to a Redis server, and can be moved to another server.

    Open connections still lead to the old server.
    """

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # it is closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.server.port))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=pair, daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        source.close()

    def close(self) -> None:
        """Refuse new connections. Open connections stay open."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
