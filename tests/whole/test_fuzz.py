"""Run each target of the fuzzer with a fixed seed and a fixed number of inputs: threats C, B6, R11.

``RUNS`` has the number of inputs for each target.
"""

import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
RUNS = {
    "cookie_header": 20_000,
    "sealed_token": 10_000,
    "chunks": 5_000,
    "backend_answer": 1_500,
    "redis_value": 20_000,
    "path": 5_000,
    "headers": 1_500,
    "whole_request": 1_500,
}


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Yield a function that runs the fuzzer with some arguments, and returns its output."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris has no wheel for this Python and machine")
    folder = tmp_path_factory.mktemp("fuzz")
    process = subprocess.Popen(
        [sys.executable, "-m", "fuzz"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def run(arguments: str) -> str:
        assert process.stdin
        assert process.stdout
        too_long = threading.Timer(120, process.kill)
        too_long.start()
        print(arguments, file=process.stdin, flush=True)
        status = process.stdout.readline()
        too_long.cancel()
        log = (folder / "log").read_text(errors="replace")
        assert status == "0\n", log[:2000] + log[-4000:]
        return log

    yield run
    process.communicate()


@pytest.mark.parametrize("target", RUNS)
def test_fuzzed_input_causes_no_crash(fuzzer: Callable[[str], str], target: str) -> None:
    limits = f"-atheris_runs={RUNS[target]} -seed=1 -max_len=8192 -rss_limit_mb=1024"
    log = fuzzer(f"{target} {limits}")
    assert f"Done {RUNS[target]} in " in log
