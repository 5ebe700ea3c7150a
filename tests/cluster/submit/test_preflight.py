"""What `submit` finds out on the login node, before anything is created."""

import os
import sys
from pathlib import Path

import pytest

from agent.cluster import slurm
from agent.cluster.options import ArrayOptions, parse_options
from agent.cluster.submit import preflight
from agent.cluster.submit.allocation import by_gpu_type, fitting_array, gpus_problem
from agent.cluster.submit.software import Needed
from agent.cluster.submit.submission import (
    check_data,
    check_names,
    check_programs,
    create_sweep,
    read_created_sweep,
)
from agent.config.run_config import RunConfig
from agent.errors import ClusterError, ConfigError

POINT = {"model_variant": "Full LoRA", "learning_rate": 1e-4, "dataset": "somebody/data"}


def refused(tmp_path: Path, **values: object) -> str:
    """The one line of a submission that is wrong in one way."""
    places = {"log": tmp_path / "logs/%A_%a.log", "state_dir": tmp_path / "state"}
    given = {**places, "python": sys.executable, **values}
    options = parse_options(
        {name: str(v) if isinstance(v, Path) else v for name, v in given.items()}
    )
    with pytest.raises(ConfigError, match=r"^the submission \(nothing was created\): ") as caught:
        preflight.check(options, None, Needed(), home=tmp_path, unchecked=False)
    assert "\n" not in str(caught.value)
    return caught.value.problems[0]


def check(**values: object) -> None:
    options = parse_options({"python": sys.executable, **values})
    preflight.check(options, None, Needed(), home=Path(), unchecked=False)


def test_a_submission_without_a_mistake_is_accepted_and_creates_nothing(tmp_path: Path) -> None:
    log, state = tmp_path / "logs/%A_%a.log", tmp_path / "state"
    check(log=str(log), state_dir=str(state), python=sys.executable)
    place = Path(sys.executable)
    lines = [f'export PATH="{place.parent}:$PATH"']
    check(log=str(log), state_dir=str(state), python=place.name, setup=lines)
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_nothing_can_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a file"
    file.touch()
    assert refused(tmp_path, log=tmp_path) == (
        f"log = {tmp_path}: is a directory; name a file in it, such as {tmp_path}/%A_%a.log"
    )
    assert (
        refused(tmp_path, log=file / "%A_%a.log")
        == f"log = {file}/%A_%a.log: {file} is not a directory"
    )
    one = tmp_path / "all.log"
    assert refused(tmp_path, log=one, array="0-1") == (
        f"log = {one}: all tasks would write into one file; put %A_%a into its name"
    )
    check(log=str(one), array="0", state_dir=str(tmp_path))
    check(log=f"{tmp_path}/%j.log", array="0-1", state_dir=str(tmp_path))
    assert refused(tmp_path, state_dir=file) == f"state_dir = {file}: {file} is not a directory"
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    assert refused(tmp_path, state_dir=tmp_path / "new/state", log="logs/%A_%a.log") == (
        f"state_dir = {tmp_path}/new/state: nothing can be written in {tmp_path}"
    )


def test_an_interpreter_is_tried_as_the_job_will_find_it(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E -I "$@"\n')
    bare.chmod(0o755)
    for python, reason in (
        ("nopython3.99", "no such program"),
        (tmp_path, "no such program"),
        ("/bin/true", "it is not a Python interpreter"),
        (bare, "it has no module agent, wandb, yaml"),
    ):
        assert refused(tmp_path, python=python).startswith(f"python = {python}: {reason}")


def test_setup_lines_that_fail_without_a_word_are_named_with_their_status(tmp_path: Path) -> None:
    said = refused(tmp_path, setup=["export A=1", "(exit 3)"])
    assert said.startswith("setup: export A=1; (exit 3) fails here: exit status 3")
    for line in ("exit 0", "exec true"):
        said = refused(tmp_path, setup=["echo hello", line])
        assert f"; {line} fails here: a line ends the shell, so that no task would start" in said
    assert refused(tmp_path, modules="cuda/99").startswith("modules: module load cuda/99 fails")


def test_agents_get_the_gpus_that_torchrun_needs_or_the_submission_is_refused(
    tmp_path: Path,
) -> None:
    assert refused(tmp_path, gpus_per_agent="4") == (
        "gpus_per_agent = 4: a task has 1 (gres = gpu:1); ask for gpu:4"
    )
    assert gpus_problem(ArrayOptions(gres="gpu:a100:2", gpus_per_agent="2")) is None
    assert gpus_problem(ArrayOptions(gres="gpu:a100:2(S:0)", gpus_per_agent="3")) is not None
    assert gpus_problem(ArrayOptions(gpus_per_agent="4", sbatch=("gpus-per-node=4",))) is None


def test_what_would_idle_in_a_task_is_refused(tmp_path: Path) -> None:
    for word in ("nodes=2", "nodes=1-4", "ntasks=2", "ntasks-per-node=4", "nodelist=n[1-2]"):
        with pytest.raises(ConfigError, match="a task is one program on one node, the rest would"):
            parse_options({"sbatch": [word]})
    given = ["nodes=1", "ntasks=1", "nodelist=n1", "gpus=1", "gpus-per-node=4", "exclusive"]
    assert gpus_problem(parse_options({"sbatch": given})) is None
    for word in ("gpus=2", "gpus=a100:2"):
        assert refused(tmp_path, sbatch=[word]) == (
            f"sbatch = {word}: a task has 1 (gres = gpu:1), the rest would idle, on another node "
            f"perhaps; ask for --gres gpu:{word.removeprefix('gpus=')}"
        )
    assert gpus_problem(ArrayOptions(gres="gpu:2", sbatch=("gpus=2",))) is None


def test_the_ids_of_an_array_count_once() -> None:
    assert slurm.log_path("/l/%4A/%3a-%a.log", "12", 5) == "/l/0012/005-5.log"
    assert slurm.task_ids("0-6:2,4,9%2") == [0, 2, 4, 6, 9]


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("array", ["1-", "a", "0-7%", "0-7:0", "1,,2", "-3"], ["0-7", "0-7%4", "1,3,5", "0-9:3"]),
        ("time", ["soon", "4h", "1:2:3:4"], ["08:00:00", "2-12:00:00", "90", "UNLIMITED"]),
        ("mem", ["lots", "32 GB", "1.5G"], ["32G", "900m", "0"]),
        ("cpus_per_task", ["two", "1.5", "-1"], ["12"]),
        ("gpus_per_agent", ["0", "-1", "all"], ["2"]),
        ("partition", ["my queue", 'a"b'], ["gpu,long"]),
        ("base_url", ["wandb.example.org", "localhost:8080"], ["http://localhost:8080"]),
        ("notify", ["me@example.org"], ["https://hooks.example.org/x?y=1"]),
        ("lead_s", ["3 min"], ["240"]),
        ("offline", ["yes"], ["1"]),
    ],
)
def test_a_value_of_another_form_is_answered_with_the_form(
    name: str, wrong: list[str], right: list[str]
) -> None:
    for value in wrong:
        with pytest.raises(ConfigError, match=rf"^the cluster options: {name} = .*must ") as caught:
            parse_options({name: value})
        assert "\n" not in str(caught.value)
    for value in right:
        assert getattr(parse_options({name: value}), name) == value


def test_a_program_that_is_not_in_the_project_is_refused(tmp_path: Path) -> None:
    sweep = {"program": "trian.py", "method": "grid"}
    with pytest.raises(ConfigError, match=r"s\.yaml: program = trian\.py: no such file in "):
        check_programs({Path("s.yaml"): sweep}, tmp_path)
    (tmp_path / "trian.py").touch()
    check_programs({Path("s.yaml"): sweep}, tmp_path)
    started = {
        "other.py": ["${env}", "python", "other.py", "${args}"],
        "./start": ["./start", "${program}"],
        "/no/such/python": ["${env}", "A=/b.py", "/no/such/python", "-m", "trian"],
        "/no/such/x.py": ["python", "/no/such/x.py"],
    }
    for word, command in started.items():
        named = {Path("s.yaml"): {**sweep, "command": command}}
        with pytest.raises(ConfigError, match=rf"s\.yaml: command: {word}: no such file in "):
            check_programs(named, tmp_path)
        if word.startswith("/"):
            check_programs(named, tmp_path, elsewhere=True)
    right = ["python", "trian.py", "--out=x.py", "${args}"]
    check_programs({Path("s.yaml"): {**sweep, "command": right}}, tmp_path)


def test_data_and_bases_that_cannot_be_used_are_refused_once(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    (tmp_path / "model").mkdir()
    files = {"dataset": str(tmp_path / "rows.jsonl"), "base_model": str(tmp_path / "model")}
    configs = [RunConfig.parse({**POINT, **files, "learning_rate": r}) for r in (1e-4, 2e-4)]
    with pytest.raises(ConfigError, match="2 problems in the data of these sweeps") as caught:
        check_data(configs)
    base, data = caught.value.problems
    assert base.endswith("model': holds no config.json")
    assert "rows.jsonl:1: fields [] fit no known form" in data
    check_data([RunConfig.parse({**POINT, "base_model": "somebody/model"})])  # on the hub


def test_a_sweep_that_wandb_did_not_make_says_why_without_its_log() -> None:
    said = "wandb: Creating sweep from: s.yaml\nTraceback …\nwandb: Error: Entity not found\n"
    with pytest.raises(ClusterError, match=r"wandb sweep s\.yaml made no sweep: Entity not found$"):
        read_created_sweep(said, Path("s.yaml"))
    with pytest.raises(ClusterError, match="it printed nothing"):
        read_created_sweep("", Path("s.yaml"))


def test_a_name_that_a_path_cannot_hold_is_refused() -> None:
    sweeps = {Path("s.yaml"): {"project": "my study"}}
    wrong = r"s\.yaml: project = 'my study': must be one word"
    with pytest.raises(ConfigError, match=wrong):
        check_names(sweeps, {}, entity=None, project=None)
    with pytest.raises(ConfigError, match="project = 'a/b': must be one word"):
        check_names(sweeps, {"WANDB_PROJECT": "a/b"}, entity=None, project=None)
    with pytest.raises(ConfigError, match="entity = 'me:you': must be one word"):
        check_names({Path("s.yaml"): {}}, {}, entity="me:you", project=None)
    with pytest.raises(ConfigError, match="no longer than 128"):
        check_names(sweeps, {}, entity=None, project="a" * 129)
    check_names(sweeps, {"WANDB_PROJECT": "a/b"}, entity=None, project="right_1.0-ü")


WANDB_SWEEP = """\
import pathlib, sys
with pathlib.Path(__file__).with_name("calls").open("a") as file:
    print(*sys.argv[1:], file=file)
if "--cancel" not in sys.argv:
    print("wandb: Created sweep with ID: \\x1b[33mab12\\x1b[0m")
    print(TEXT)
"""


def test_a_sweep_whose_place_is_not_said_is_taken_back(tmp_path: Path) -> None:
    """A new version of wandb may word it otherwise; the sweep must not stay behind."""
    path = tmp_path / "s.yaml"
    path.write_text("project: study\n")
    environment = {"PYTHONPATH": str(tmp_path)}
    for said in ("wandb: Go!", "wandb: View sweep at: http://h/me/a%20b/sweeps/ab12"):
        (tmp_path / "wandb.py").write_text(WANDB_SWEEP.replace("TEXT", repr(said)))
        with pytest.raises(ClusterError, match="made sweep ab12 and did not say where; it is canc"):
            create_sweep(path, environment, entity="me")
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[-1] == "sweep --entity=me --project=study --cancel ab12"
    said = "wandb: View sweep at: http://h/me/study/sweeps/ab12\nwandb: Run: wandb agent study/ab12"
    (tmp_path / "wandb.py").write_text(WANDB_SWEEP.replace("TEXT", repr(said)))
    assert create_sweep(path, environment)[0] == "me/study/ab12"


def test_each_type_of_gpu_gets_an_array_and_its_share_of_the_tasks() -> None:
    both = "gpu:a100:2|gpu:h100:1"
    options = ArrayOptions(gres=both, array="0-4%3")
    parts = [(part.gres, part.array) for part in by_gpu_type(options)]
    assert parts == [("gpu:a100:2", "0,2,4%2"), ("gpu:h100:1", "1,3%1")]
    assert by_gpu_type(ArrayOptions(array="0-4")) == [ArrayOptions(array="0-4")]
    one = by_gpu_type(ArrayOptions(gres=both, array="3"))
    assert [(part.gres, part.array) for part in one] == [("gpu:a100:2", "3")]
    assert fitting_array(ArrayOptions(gres=both, array="0-7"), 3)[0] == "0-2"
    assert gpus_problem(ArrayOptions(gres=both, gpus_per_agent="2")) is not None
    with pytest.raises(ConfigError, match=r"gres = 'gpu:a100:1\|': must look like gpu:1, gpu:a100"):
        parse_options({"gres": "gpu:a100:1|"})
