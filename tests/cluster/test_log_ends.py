"""The lines of a log that are shown of a task that ended badly."""

from pathlib import Path

from agent.cluster.log_ends import end_of_log, telling_lines

AGENT = """\
[supervisor 2026-11-27T07:18:05.901] worker 0: run saexx5je of local/small/pv5o70n8
2026-11-27 07:18:14,844 - wandb.wandb_agent - INFO - Agent starting run with config:
\tlearning_rate: 0.002
"""
TRACEBACK = """\
Traceback (most recent call last):
  File "/p/train.py", line 193, in <module>
    sys.exit(main(sys.argv[1:]))
             ^^^^^^^^^^^^^^^^^^
  File "/p/train.py", line 40, in main
    run(read_config(words))
  File "/p/agent/evaluation/scores.py", line 18, in <module>
    import json_repair
ModuleNotFoundError: No module named 'json_repair'
"""
NOISE = """\
wandb: 🚀 View run sweep-run-2 at: http://127.0.0.1:1/local/st/runs/n53g7wxm
2026-11-27 07:18:14,844 - wandb.wandb_agent - INFO - Cleaning up finished run: yhmj9ndi
2026-11-27 07:18:14,873 - wandb.wandb_agent - INFO - Agent received command: exit
[supervisor 2026-11-27T07:18:14.892] its run failed
"""


def telling(text: str, *, has_failed: bool = True) -> list[str]:
    return telling_lines(text.splitlines(), has_failed=has_failed)


def test_the_traceback_of_the_last_run_stands_before_what_its_agent_says_afterwards() -> None:
    shown = telling(AGENT + TRACEBACK.replace("json_repair", "older") + TRACEBACK + NOISE)
    assert shown[0] == "Traceback (most recent call last):"
    assert shown[1] == "  …"
    assert shown[-3:] == TRACEBACK.splitlines()[-3:]
    assert len(shown) == 8


def test_of_chained_exceptions_the_last_is_shown() -> None:
    then = "\nDuring handling of the above exception, another exception occurred:\n\n"
    last = "Traceback (most recent call last):\n  File \"a.py\", line 1\nKeyError: 'x'\n"
    assert telling(TRACEBACK + then + last + NOISE) == last.splitlines()


def test_the_exception_of_a_rank_is_shown_and_not_torchruns_own() -> None:
    rank = "".join(f"[rank1]: {line}\n" for line in TRACEBACK.splitlines()[-4:])
    rank = f"[rank1]: Traceback (most recent call last):\n{rank}"
    own = (
        'Traceback (most recent call last):\n  File "run.py", line 1\n'
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"
        "=====\ntrain.py FAILED\n"
    )
    assert telling(rank + own + NOISE)[-1].endswith("No module named 'json_repair'")


def test_without_a_traceback_the_last_words_of_the_program_are_shown() -> None:
    word = "/usr/bin/env: 'pythn3': No such file or directory"
    assert telling(f"{AGENT}{word}\n{NOISE}") == [word]
    assert telling("wandb: ERROR the key is revoked\n" + NOISE) == [
        "wandb: ERROR the key is revoked"
    ]
    assert telling(f"{word}\n{NOISE}{word}\n{NOISE}") == [word]
    assert telling(NOISE) == NOISE.splitlines()[-1:]
    assert telling("") == []


def test_a_task_that_was_killed_shows_its_last_lines_and_no_older_traceback() -> None:
    killed = "slurmstepd: error: *** JOB 12 ON n1 CANCELLED DUE TO TIME LIMIT ***"
    shown = telling(TRACEBACK + "step 17\n" + killed + "\n", has_failed=False)
    assert shown[-2:] == ["step 17", killed]
    assert "Traceback (most recent call last):" not in shown


def test_only_the_end_of_a_large_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "1_0.log"
    log.write_text("x" * 79 + "\n" + ("step\n" * 200_000) + TRACEBACK + NOISE)
    assert end_of_log(log, has_failed=True)[-1].startswith("ModuleNotFoundError")
    assert "cannot be read" in end_of_log(tmp_path / "gone.log", has_failed=True)[0]
