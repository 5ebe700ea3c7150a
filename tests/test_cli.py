"""The command table: every command explains itself, and a mistake is reported in one line."""

import subprocess
import sys
from importlib.metadata import version

import pytest

from agent.cli import COMMANDS, GROUPS, build_parser, main


@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: sweep-agent {name}")
    assert len(shown.splitlines()) > 3


def test_names_are_unique_and_all_are_listed() -> None:
    names = [command.name for command in COMMANDS]
    assert len(names) == len(set(names))
    text = build_parser().format_help()
    assert [name for name in names if name not in text] == []


@pytest.mark.parametrize("words", [[], ["chek"], ["check"], ["check", "--nofile", "x.yaml"]])
def test_a_wrong_call_exits_2_without_a_traceback(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    message = capsys.readouterr().err
    assert "usage: sweep-agent" in message
    assert message.count("\n") == 1
    assert "Traceback" not in message


def test_a_misspelt_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["chek", "x.yaml"])
    assert "unknown command 'chek'; did you mean 'check'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["--versoin"], "--version"),
        (["report", "--otu", "x"], "--out"),
        (["report", "p", "--titel=x"], "--title"),
        (["status", "--wacth"], "--watch"),
        (["keys", "add", "--dat", "d"], "--data"),
        (["store", "gc", "--dry-rum"], "--dry-run"),
        (["baseline", "--learning_rat", "1"], "--learning-rate"),
    ],
)
def test_a_misspelt_option_names_the_nearest(
    words: list[str], near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    option = next(word for word in words if word.startswith("-")).partition("=")[0]
    said = capsys.readouterr().err
    assert f"unknown option {option!r}; did you mean {near!r}?" in said


@pytest.mark.parametrize("words", [["keys", "lst"], ["store", "sttaus"], ["keys", "ad"]])
def test_a_misspelt_action_lists_or_names_the_known_ones(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert f"unknown action {words[1]!r}; did you mean" in capsys.readouterr().err


def test_help_groups_the_commands_by_when_they_are_needed() -> None:
    text = build_parser().format_help()
    places = [text.index(f"{title}:") for title, _ in GROUPS]
    assert places == sorted(places)
    assert text.index("the server:") < text.index("  serve") < text.index("the store:")


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.strip() == version("sweep-agent")


def test_a_missing_file_is_one_line_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "gone.yaml"]) == 2
    assert "gone.yaml: cannot be read: No such file" in capsys.readouterr().err


def test_a_reader_that_leaves_early_causes_no_traceback() -> None:
    code = "import sys; from agent.cli import main; sys.exit(main(['--help']))"
    pipe = f'{sys.executable} -c "{code}" | head -n 1'
    done = subprocess.run(pipe, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("usage")
    assert "Traceback" not in done.stderr
