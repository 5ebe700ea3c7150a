"""`sweep-agent`: one table of commands; a command's module is imported only when it is called.

A command NAME lives in its folder as `add_NAME_arguments(parser)` and `run_NAME(args) -> int`.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from agent import extensions
from agent.errors import SweepAgentError, fault_of, one_line


class Command(NamedTuple):
    name: str
    module: str
    help: str


COMMANDS = (
    Command(
        "check", "agent.programs.check", "find every fault of sweep YAMLs before W&B sees them"
    ),
    Command("store", "agent.training.store_commands", "look at, tidy and move stored trainings"),
    Command("export", "agent.training.export_command", "write a run's adapter as a PEFT folder"),
    Command("submit", "agent.cluster.submit.commands", "create sweeps and submit their array job"),
    Command(
        "plan", "agent.cluster.submit.plan_commands", "which grid points are done, partial or new"
    ),
    Command(
        "fill", "agent.cluster.submit.plan_commands", "run only the missing or crashed grid points"
    ),
    Command(
        "prepare", "agent.cluster.submit.node_commands", "download model and data on a login node"
    ),
    Command("doctor", "agent.cluster.submit.node_commands", "check this node, or a compute node"),
    Command(
        "probe", "agent.cluster.submit.probe_command", "memory, hours and GB of a sweep, beforehand"
    ),
    Command(
        "status", "agent.cluster.submit.watch_commands", "grid points, jobs, nodes and GPU hours"
    ),
    Command("logs", "agent.cluster.submit.watch_commands", "open the log of a run"),
    Command("rerun", "agent.cluster.submit.rerun", "run a grid point again from its snapshot"),
    Command("serve", "agent.server.commands", "run the W&B-compatible sweep server"),
    Command("env", "agent.server.commands", "print the exports that point wandb at a server"),
    Command("keys", "agent.server.commands", "make, list and revoke the server's API keys"),
    Command("backup", "agent.server.commands", "copy a running server's data directory"),
    Command("sync", "agent.server.commands", "bring a server's sweeps and runs to another server"),
    Command(
        "benchmark", "agent.programs.benchmark_command", "measure the inference of finished runs"
    ),
    Command(
        "evaluate", "agent.programs.benchmark_command", "score chosen runs once on the test split"
    ),
    Command("report", "agent.report.commands", "compare runs: retention, costs, figures, tables"),
    Command("select", "agent.report.commands", "choose learning rate and point per variant"),
    Command("workspace", "agent.report.commands", "build the saved view and Report on W&B"),
    Command("replay", "agent.programs.replay", "re-plan finished curves under any pruners"),
    Command("demo", "agent.demo.commands", "run the three demo sweeps to their end, offline"),
    Command("pretrain", "agent.demo.pretraining.commands", "make the demo's base model again"),
)


def build_parser(name: str | None = None) -> argparse.ArgumentParser:
    """The parser; only the command `name`, if given, brings its arguments (and its imports)."""
    parser = argparse.ArgumentParser(
        prog="sweep-agent",
        description="Find the cheapest LoRA variant that keeps its quality, by W&B sweeps.",
        epilog="Each command explains itself: sweep-agent COMMAND --help",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        child = commands.add_parser(
            command.name, help=command.help, description=command.help, allow_abbrev=False
        )
        if command.name == name:
            function = f"add_{name.replace('-', '_')}_arguments"
            getattr(importlib.import_module(command.module), function)(child)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a user's mistake is one line on stderr and exit status 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    named = next((command for command in COMMANDS if words[:1] == [command.name]), None)
    args = build_parser(named.name if named else None).parse_args(words)
    assert named is not None  # parse_args has refused anything else
    run = getattr(importlib.import_module(named.module), f"run_{named.name.replace('-', '_')}")
    try:
        extensions.load()
        return int(run(args))
    except SweepAgentError as error:
        print(f"sweep-agent {named.name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader (head, less) has gone: nothing left to say
        sys.stderr.close()
        return 0
    except OSError as error:  # a full disk, a quota, a missing file: the site's or the user's
        print(f"sweep-agent {named.name}: {one_line(error)}", file=sys.stderr)
        return fault_of(error).exit_status


if __name__ == "__main__":
    sys.exit(main())
