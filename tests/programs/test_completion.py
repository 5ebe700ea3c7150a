"""Completion of commands, options and files by a real shell."""

import subprocess
import sys
from pathlib import Path

import pytest

from agent.cli import COMMANDS, main

COMPLETE = """
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
$(complete -p sweep-agent | grep -o -- '-F [^ ]*' | cut -c4-) 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "sweep-agent.bash"
    words = [sys.executable, "-m", "agent.cli", "completion", "bash"]
    path.write_text(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    return path


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["subm"], "submit"),
        (["submit", "--parti"], "--partition"),
        (["keys", "rev"], "revoke"),
        (["check", "sweeps/full"], "sweeps/full_lora.yaml"),
        (["submit", "sweeps/full"], "sweeps/full_lora.yaml"),
    ],
)
def test_bash_completes(script: Path, words: list[str], found: str) -> None:
    call = ["bash", "-c", COMPLETE, "bash", str(script), "sweep-agent", *words]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert found in done.stdout.split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_names_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert [command.name for command in COMMANDS if command.name not in text] == []
