"""Python programs in processes of their own, as tests start them."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run_python(
    *words: str,
    status: int = 0,
    env: Mapping[str, str] = os.environ,
    cwd: Path = ROOT,
    timeout_s: float = 400,
    **variables: str,
) -> "subprocess.CompletedProcess[str]":
    """`python WORDS` with the project importable and `variables` set beside `env`.

    AssertionError, with what it printed, when it ends with another exit status.
    """
    done = subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env={**env, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done
