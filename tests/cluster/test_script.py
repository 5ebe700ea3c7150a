"""The array job's text: golden files, and the shipped script as the text for the defaults.

After a wanted change: python -m agent.cluster.script > slurm/agents.sbatch, and
python tests/cluster/test_script.py writes the golden files anew.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cluster.options import (
    FIELDS,
    LISTS,
    SERVER_ONLY,
    ArrayOptions,
    parse_options,
    read_profile,
)
from agent.cluster.script import array_script
from agent.cluster.submit.option_flags import options_of
from agent.cluster.submit.server_job import server_script
from agent.errors import ConfigError

GOLDEN = Path(__file__).parent / "golden"
SHIPPED = Path(__file__).parents[2] / "slurm" / "agents.sbatch"

CASES = {
    "cloud": (ArrayOptions(), ("team/study/ab12cd34",)),
    "embedded_server": (
        ArrayOptions(
            array="0-7%4",
            partition="gpu",
            account="lab",
            gres="gpu:a100:2",
            constraint="a100&ib",
            modules="python/3.11 cuda/12.4",
            container="apptainer exec --nv image.sif",
            server_data="/shared/server data",
            project_dir="/home/me/study",
            code_dir="/home/me/study/outputs/cluster/snapshots/0123abcd",
            gpus_per_agent="2",
        ),
        ("lab/study/one", "lab/study/two"),
    ),
    "own_server": (
        ArrayOptions(
            key_file="/home/me/.wandb key",
            base_url="http://login1:8080",
            extensions="my_dora,lab.metrics",
        ),
        (),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_script_is_the_golden_text(name: str) -> None:
    options, sweeps = CASES[name]
    assert array_script(options, sweeps) == (GOLDEN / f"{name}.sbatch").read_text()


def test_the_shipped_script_is_the_text_for_the_defaults() -> None:
    assert SHIPPED.read_text() == array_script(ArrayOptions())


@pytest.mark.parametrize("path", [SHIPPED, *sorted(GOLDEN.glob("*.sbatch"))], ids=lambda p: p.name)
def test_the_scripts_pass_shellcheck(path: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed (apt install shellcheck)")
    done = subprocess.run(["shellcheck", path], capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 0


def test_the_script_keeps_the_submitters_environment_out_and_traps_no_signal() -> None:
    text = array_script(ArrayOptions())
    assert "#SBATCH --export=NONE\n" in text
    set_up = text.index("\ntrap - EXIT\n")  # what the set-up lines have is gone before the task
    assert "trap " not in text[set_up + len("\ntrap - EXIT\n") :]
    assert len([line for line in text.splitlines() if line.startswith("trap ")]) == 2
    assert text.rstrip().splitlines()[-1].startswith("exec ")


@pytest.mark.parametrize(
    ("values", "own", "is_read"),
    [
        ({}, "", False),
        ({"modules": "cuda"}, "", True),
        ({"setup": ["conda activate study"]}, "", True),
        ({}, "  conda activate study\n", True),  # written into the script by hand
    ],
)
def test_the_login_profile_is_read_again_where_its_functions_are_needed(
    tmp_path: Path, values: dict[str, object], own: str, is_read: bool
) -> None:
    text = array_script(parse_options(values)).split("set -eo pipefail\n")
    text[1] = text[1].replace("# conda activate", f"{own}# conda activate")
    script = tmp_path / "script"
    script.write_text(f"{text[0]}exit\n{text[1]}")
    (tmp_path / ".profile").write_text("echo read\n")
    known = {"HOME": str(tmp_path), "PATH": os.defpath}
    for environment, expected in ((known | {"SLURM_GET_USER_ENV": "1"}, is_read), (known, True)):
        done = subprocess.run(
            ["bash", str(script)], env=environment, capture_output=True, text=True, check=True
        )
        assert (done.stdout == "read\n") == expected, done.stderr


def test_every_option_reaches_the_script() -> None:
    """A value that no other option has must be found in the text."""
    values = {
        "array": "5-6",
        "time": "1-02:03:04",
        "cpus_per_task": "11",
        "mem": "12G",
        "lead_s": "345",
        "gpus_per_agent": "6",
        "agents_per_gpu": "9",
        "max_restarts": "77",
        "idle_limit_s": "99",
        "offline": "1",
        "extensions": "my_dora,lab.metrics",
        "base_url": "https://wandb.example.org",
        "notify": "https://hooks.example.org/T1",
    }
    for name in FIELDS:
        value = values.get(name, f"value-of-{name.replace('_', '-')}")
        if name in SERVER_ONLY:
            text = server_script(parse_options({name: values.get("time")}))
            assert "1-02:03:04" in text, name
            continue
        given = ["mail-type=FAIL"] if name == "sbatch" else [value] if name in LISTS else value
        text = array_script(parse_options({name: given}))
        expected = "#SBATCH --mail-type=FAIL" if name == "sbatch" else value
        lines = (f"={expected}", f"@{expected}", f"\n{expected}\n")
        assert any(line in text for line in lines), name


def test_an_unknown_option_is_answered_with_the_nearest_and_all_valid_ones() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'partition'\? valid: job_name, array, "):
        parse_options({"partitoin": "gpu"})


def test_all_faults_of_the_options_are_reported_at_once() -> None:
    with pytest.raises(ConfigError, match=r"(?s)2 problems.*array = 'x'.*time = 'soon'"):
        parse_options({"array": "x", "time": "soon"})


@pytest.mark.parametrize("value", ["gpu\n#SBATCH --wrap=evil", "gpu; rm -rf x", "$(id)"])
def test_a_value_cannot_smuggle_commands_into_the_script(value: str) -> None:
    with pytest.raises(ConfigError, match="partition = "):
        parse_options({"partition": value})


def test_any_option_of_sbatch_goes_through_but_those_that_would_break_the_job(
    tmp_path: Path,
) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text(
        'setup = ["conda activate study"]\n[sbatch]\nmail-type = "FAIL,END"\nexclusive = true\n'
    )
    text = array_script(parse_options(read_profile(profile)))
    assert "\n#SBATCH --mail-type=FAIL,END\n#SBATCH --exclusive\n" in text
    assert "\nconda activate study\n" in text
    refusals = {
        "export=ALL": "would break preemption",
        "partition=gpu": "give it as --partition",
        "part=gpu": "sbatch takes part for partition; write the whole name",
        "exp=x": "sbatch takes exp for export or export-file; write the whole name",
        "comment=a\nb": "must look like",
        "": "must look like",
    }
    for word, reason in refusals.items():
        with pytest.raises(ConfigError, match=reason):
            parse_options({"sbatch": [word]})


def test_a_time_that_toml_reads_as_a_time_of_day_has_to_be_quoted(tmp_path: Path) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text("time = 04:00:00\n")
    with pytest.raises(ConfigError, match=r'time = 04:00:00: put it in quotes, time = "04:00:00"'):
        parse_options(read_profile(profile))


def test_paths_with_spaces_are_quoted_for_slurm_too() -> None:
    text = array_script(ArrayOptions(log="/my data/logs/%A_%a.log"))
    assert '\n#SBATCH --output="/my data/logs/%A_%a.log"' in text


def test_free_text_is_quoted_for_the_shell() -> None:
    text = array_script(ArrayOptions(key_file="/home/o'neil/$(touch x)"))
    assert """KEY_FILE='/home/o'"'"'neil/$(touch x)'""" in text


def test_flags_win_over_the_profile_and_none_means_not_given(tmp_path: Path) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text('partition = "gpu"\ntime = "01:00:00"\ncpus-per-task = 4\n')
    options = parse_options(read_profile(profile), {"time": "02:00:00", "partition": None})
    assert (options.partition, options.time, options.cpus_per_task) == ("gpu", "02:00:00", "4")


def test_extensions_come_from_the_flag_the_profile_or_the_submitters_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs start with --export=NONE: what the login node knows has to stand in the script."""
    for name in ("mine", "yours", "theirs"):
        (tmp_path / f"{name}_rows.py").write_text("")
    profile = tmp_path / "mine.toml"
    profile.write_text('extensions = "yours_rows"\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("SWEEP_AGENT_EXTENSIONS", "mine_rows")
    args = argparse.Namespace(profile=None, extensions=None)
    assert "\nEXTENSIONS=mine_rows " in array_script(options_of(args))
    args = argparse.Namespace(profile=profile, extensions=None)
    assert "\nEXTENSIONS=yours_rows " in array_script(options_of(args))
    args = argparse.Namespace(profile=profile, extensions="theirs_rows")
    assert "\nEXTENSIONS=theirs_rows " in array_script(options_of(args))
    assert {"mine_rows", "yours_rows", "theirs_rows"} <= set(sys.modules)
    with pytest.raises(ConfigError, match="nobodys_rows: No module named"):
        options_of(argparse.Namespace(profile=None, extensions="nobodys_rows"))


def test_a_profile_that_is_not_toml_is_named(tmp_path: Path) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text("partition gpu")
    with pytest.raises(ConfigError, match=r"mine\.toml"):
        read_profile(profile)


if __name__ == "__main__":
    for name, (options, sweeps) in CASES.items():
        (GOLDEN / f"{name}.sbatch").write_text(array_script(options, sweeps))
