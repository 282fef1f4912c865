"""Run each target of the fuzzer with a fixed seed and a fixed number of inputs: threats C, B6, R11.

``RUNS`` has the number of inputs for each target.
"""

import importlib.util
import os
import subprocess
import sys
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


@pytest.mark.parametrize("target", RUNS)
def test_fuzzed_input_causes_no_crash(target: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris has no wheel for this Python and machine")
    limits = [f"-atheris_runs={RUNS[target]}", "-seed=1", "-max_len=8192", "-rss_limit_mb=1024"]
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", target, *limits],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "Done" in done.stderr
