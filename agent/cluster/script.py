"""The text of the array job: a pure function of its options.

`slurm/agents.sbatch` is what it returns for the defaults; write it again with
`python -m agent.cluster.script > slurm/agents.sbatch`.

Scars that shaped it:
- `exec`: bash loses signals that arrive back to back during `wait`, so no signal is trapped here;
  the Python supervisor becomes the batch process and gets Slurm's signals itself.
- `--export=NONE`: the submitter's environment, an exported API key included, would otherwise lie
  in the controller's state files.
- `--signal=B:`: without B only srun steps get the signal, and there are none.
- no login shell (`-l`): with `--export=NONE` Slurm has loaded the login environment already, and a
  second time can take longer than the rest of a task's start. What Slurm cannot pass on are shell
  functions, such as `module`: the profile is read again where modules or set-up lines need them.
- `--open-mode=append`: a requeued task must not erase the log of its first life.
"""

import shlex
from collections.abc import Sequence

from agent.cluster.options import FIELDS, ArrayOptions

_HEAD = """\
#!/bin/bash
# One `wandb agent --forward-signals` per task of an array job:
#
#   sbatch --array=0-7 slurm/agents.sbatch ENTITY/PROJECT/SWEEP [MORE SWEEPS]
#
# Tasks work through the sweeps in the order given. Preempted or at its time limit, a task saves,
# is requeued and goes on where it was. Everything to edit stands above the line of dashes.
"""

_FIXED = """\
#SBATCH --export=NONE
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@{lead_s}
"""

# Shell variable of the script for each option that is not an sbatch directive.
_VARIABLES = {
    "PROJECT_DIR": "project_dir",
    "CODE_DIR": "code_dir",
    "PYTHON": "python",
    "MODULES": "modules",
    "CONTAINER": "container",
    "NOTIFY": "notify",
    "EXTENSIONS": "extensions",
    "KEY_FILE": "key_file",
    "BASE_URL": "base_url",
    "SERVER_DATA": "server_data",
    "POINTS": "points",
    "OFFLINE": "offline",
    "STATE_DIR": "state_dir",
    "GPUS_PER_AGENT": "gpus_per_agent",
    "AGENTS_PER_GPU": "agents_per_gpu",
    "MAX_RESTARTS": "max_restarts",
    "IDLE_LIMIT_S": "idle_limit_s",
}
_EMPTY_SETUP = "# conda activate study, export NAME=VALUE, …\n"

# From the job's shell to the interpreter, for the array and for the server's job alike. What is
# missing is one printed line: an import error in the middle of a log is easily missed. START looks
# for the packages in the process that then goes on: a second one would cost every task its start.
PLACE = """\
PROJECT_DIR="${PROJECT_DIR:-${SLURM_SUBMIT_DIR:-$PWD}}"
cd "${CODE_DIR:-$PROJECT_DIR}"
if [ -z "$PYTHON" ]; then
  PYTHON=python
  if [ -z "$CONTAINER" ] && [ -x "$PROJECT_DIR/.venv/bin/python" ]; then
    PYTHON="$PROJECT_DIR/.venv/bin/python"
  fi
fi
read -r -a container <<<"$CONTAINER"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
program="${container[0]:-$PYTHON}"
if ! command -v "$program" >/dev/null; then
  echo "$SLURM_JOB_NAME: no program $program on $(hostname)" >&2
  exit 78
fi
START='
import importlib, importlib.util, os, sys
found = {n: importlib.util.find_spec(n) for n in ("agent", "wandb", "yaml")}
missing = [n for n, spec in found.items() if spec is None or not spec.origin] # a folder wandb/
if missing:
    job, node, names = os.environ.get("SLURM_JOB_NAME"), os.uname().nodename, ", ".join(missing)
    print(f"{job}: {sys.executable} on {node} is not the environment of the project: "
          f"it has no module {names}", file=sys.stderr)
    sys.exit(78)
sys.exit(importlib.import_module(sys.argv.pop(1)).main())'
"""

_BODY = """\
# ------------------------------------------------------------------------------------------------
set -u # not before: the cluster's and conda's own functions are not written for it
if [ "$#" -eq 0 ]; then set -- "${SWEEPS[@]}"; fi
if [ "$#" -eq 0 ] && [ -z "$POINTS" ]; then
  echo "usage: sbatch --array=0-7 slurm/agents.sbatch ENTITY/PROJECT/SWEEP [MORE SWEEPS]" >&2
  exit 2
fi
@PLACE@case "$STATE_DIR" in /*) ;; *) STATE_DIR="$PROJECT_DIR/$STATE_DIR" ;; esac
options=(--state "$STATE_DIR" --environment "$STATE_DIR/environment"
  --gpus-per-agent "$GPUS_PER_AGENT" --agents-per-gpu "$AGENTS_PER_GPU"
  --lead-s "$LEAD_S" --max-restarts "$MAX_RESTARTS")
if [ -n "$KEY_FILE" ]; then options+=(--key-file "$KEY_FILE"); fi
if [ -n "$BASE_URL" ]; then options+=(--base-url "$BASE_URL"); fi
if [ -n "$SERVER_DATA" ]; then options+=(--server-data "$SERVER_DATA"); fi
if [ -n "$POINTS" ]; then options+=(--points "$POINTS"); fi
if [ -n "$OFFLINE" ]; then options+=(--offline); fi
if [ -n "$NOTIFY" ]; then options+=(--notify "$NOTIFY"); fi
if [ -n "$IDLE_LIMIT_S" ]; then options+=(--idle-limit-s "$IDLE_LIMIT_S"); fi
export WANDB_AGENT_DISABLE_FLAPPING=true WANDB_ERROR_REPORTING=false
if [ -n "$EXTENSIONS" ]; then export SWEEP_AGENT_EXTENSIONS="$EXTENSIONS"; fi
exec "${container[@]}" "$PYTHON" -c "$START" agent.cluster.job.task "${options[@]}" "$@"
"""


def array_script(options: ArrayOptions, sweeps: Sequence[str] = ()) -> str:
    """The whole script. `sweeps` are worked through when sbatch is given none."""
    return "\n".join(
        [
            _HEAD + "\n" + _directives(options) + _FIXED.format(lead_s=options.lead_s),
            _variables(options, sweeps) + setup_lines(options) + _BODY.replace("@PLACE@", PLACE),
        ]
    )


def setup_lines(options: ArrayOptions) -> str:
    """Modules, then the user's own lines, in the job's shell."""
    lines = "".join(f"{line}\n" for line in options.setup) or _EMPTY_SETUP
    return f"{_SETUP_HEAD}{lines}{_SETUP_END}"


# One that fails or says `exit` would end the task COMPLETED, or without its reason; a signal is
# left to do what it does.
_SETUP_HEAD = """\
own_lines=$(sed '1,/^# Lines of your own/d; /^trap - EXIT/,$d' "$0" | grep -v '^ *#')
if [ -n "$MODULES$own_lines" ] || [ -z "${SLURM_GET_USER_ENV:-}" ]; then
  # as a login shell does: for functions, such as conda's and `module`
  for profile in /etc/profile ~/.bash_profile ~/.bash_login ~/.profile; do
    if [ -r "$profile" ]; then
      # shellcheck source=/dev/null
      . "$profile"
      if [ "$profile" != /etc/profile ]; then break; fi
    fi
  done
fi
set -eo pipefail
set_up_ended() {
  local status=$?
  if [ "$status" -lt 128 ]; then
    echo "$SLURM_JOB_NAME: a set-up line ended the shell with status $status" >&2
    exit 78
  fi
}
trap set_up_ended EXIT
if [ -n "$MODULES" ]; then
  read -r -a modules <<<"$MODULES"
  module load "${modules[@]}"
fi
# Lines of your own, run before the interpreter:
"""
_SETUP_END = "trap - EXIT\n"


def directive(name: str, value: str) -> str:
    """One option of sbatch; quoted where it holds a space."""
    return f'--{name}="{value}"' if " " in value else f"--{name}={value}"


def _directives(options: ArrayOptions) -> str:
    """One #SBATCH line per option; one that is not set is shown as a comment to fill in."""
    lines = []
    for name, field in FIELDS.items():
        option, value = field.metadata["directive"], getattr(options, name)
        if not option:
            continue
        start = "#SBATCH" if value else "##SBATCH"
        word = directive(option, value or name.upper())
        lines.append(f"{start} {word}".ljust(44) + f"# {field.metadata['help']}")
    for word in options.sbatch:
        option, _, value = word.partition("=")
        lines.append(f"#SBATCH {directive(option, value) if value else f'--{option}'}")
    return "\n".join(lines) + "\n"


def _variables(options: ArrayOptions, sweeps: Sequence[str]) -> str:
    lines = []
    for variable, name in _VARIABLES.items():
        value = getattr(options, name)
        assignment = f"{variable}={shlex.quote(value) if value else ''}"
        lines.append(assignment.ljust(30) + f" # {FIELDS[name].metadata['help']}")
    lines.append(f"LEAD_S={options.lead_s}".ljust(30) + " # the same as in --signal above")
    words = " ".join(shlex.quote(sweep) for sweep in sweeps)
    lines.append(f"SWEEPS=({words})".ljust(30) + " # when none are given to sbatch")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(array_script(ArrayOptions()), end="")
