"""`sweep-agent`: one table of commands; a command's module is imported only when it is called.

A command NAME lives in its folder as `add_NAME_arguments(parser)` and `run_NAME(args) -> int`.
"""

import argparse
import importlib
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple, NoReturn

from agent import extensions
from agent.config.rules import unknown_name
from agent.errors import SweepAgentError, fault_of, one_line

DESCRIPTION = "Find the cheapest LoRA variant that keeps its quality, by W&B sweeps."


class Command(NamedTuple):
    name: str
    module: str
    help: str


GROUPS = (
    (
        "before the runs",
        (
            Command(
                "check",
                "agent.programs.check",
                "find every fault of sweep YAMLs before W&B sees them",
            ),
            Command(
                "prepare",
                "agent.cluster.submit.node_commands",
                "download model and data on a login node",
            ),
            Command(
                "doctor", "agent.cluster.submit.node_commands", "check this node, or a compute node"
            ),
            Command(
                "probe",
                "agent.cluster.submit.probe_command",
                "memory, hours and GB of a sweep, beforehand",
            ),
            Command(
                "completion",
                "agent.programs.completion",
                "print the script that lets a shell complete these commands",
            ),
        ),
    ),
    (
        "on the cluster",
        (
            Command(
                "submit",
                "agent.cluster.submit.commands",
                "create sweeps and submit their array job",
            ),
            Command(
                "plan",
                "agent.cluster.submit.plan_commands",
                "which grid points are done, partial or new",
            ),
            Command(
                "fill",
                "agent.cluster.submit.plan_commands",
                "run only the missing or crashed grid points",
            ),
            Command(
                "status",
                "agent.cluster.submit.watch_commands",
                "grid points, jobs, nodes and GPU hours",
            ),
            Command("logs", "agent.cluster.submit.watch_commands", "open the log of a run"),
            Command(
                "rerun", "agent.cluster.submit.rerun", "run a grid point again from its snapshot"
            ),
        ),
    ),
    (
        "after the runs",
        (
            Command(
                "benchmark",
                "agent.programs.benchmark_command",
                "measure the inference of finished runs",
            ),
            Command(
                "evaluate",
                "agent.programs.benchmark_command",
                "score chosen runs once on the test split",
            ),
            Command(
                "baseline",
                "agent.programs.baseline",
                "score the untouched base, in each form it can be served in",
            ),
            Command(
                "report", "agent.report.commands", "compare runs: retention, costs, figures, tables"
            ),
            Command(
                "select", "agent.report.commands", "choose learning rate and point per variant"
            ),
            Command("workspace", "agent.report.commands", "build the saved view and Report on W&B"),
            Command("replay", "agent.programs.replay", "replay finished curves under any pruner"),
        ),
    ),
    (
        "the server",
        (
            Command("serve", "agent.server.commands", "run the W&B-compatible sweep server"),
            Command(
                "env", "agent.server.commands", "print the exports that point wandb at a server"
            ),
            Command("keys", "agent.server.commands", "make, list and revoke the server's API keys"),
            Command("backup", "agent.server.commands", "copy a running server's data directory"),
            Command(
                "sync",
                "agent.server.commands",
                "bring a server's sweeps and runs to another server",
            ),
        ),
    ),
    (
        "the store",
        (
            Command("store", "agent.programs.store", "look at, tidy and move stored trainings"),
            Command("export", "agent.programs.export", "write a run's adapter as a PEFT folder"),
        ),
    ),
    (
        "the demo",
        (
            Command(
                "demo", "agent.demo.commands", "run the three demo sweeps to their end, offline"
            ),
            Command(
                "pretrain", "agent.demo.pretraining.commands", "make the demo's base model again"
            ),
        ),
    ),
)
COMMANDS = tuple(command for _, commands in GROUPS for command in commands)


class Parser(argparse.ArgumentParser):
    """Says of a misspelt option, action or choice which one may be meant, as of commands."""

    # The stub lists three overloads by the type of the namespace.
    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        if self._subparsers is None:  # before a missing argument is named, for it may be the same
            self._refuse_unknown(word for word in args or () if word.startswith("--"))
        found, rest = super().parse_known_args(args, namespace)
        self._refuse_unknown(word for word in rest if word.startswith("-"))
        return found, rest

    def _refuse_unknown(self, options: Iterable[str]) -> None:
        for word in options:
            if word != "--" and word.partition("=")[0] not in self._option_string_actions:
                self.error(self.unknown_option(word))

    def unknown_option(self, word: str) -> str:
        known = [action.option_strings[-1] for action in self._actions if action.option_strings]
        return unknown_name(word.partition("=")[0], known, "option")

    def error(self, message: str) -> NoReturn:
        """One line; the whole usage is for those who ask for it."""
        self.exit(2, f"{self.prog}: {message} (usage: {self.prog} --help)\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            name = (action.option_strings or [action.dest])[-1]
            raise argparse.ArgumentError(None, unknown_name(str(value), action.choices, name))


def overview() -> str:
    """All commands, in the order in which a study needs them."""
    parts = []
    for title, commands in GROUPS:
        lines = [f"  {command.name:<11} {command.help}" for command in commands]
        parts.append("\n".join([f"{title}:", *lines]))
    parts.append("Each command explains itself: sweep-agent COMMAND --help")
    return "\n\n".join(parts)


def build_parser(name: str | None = None, *, whole: bool = False) -> Parser:
    """The parser; only the command `name`, if given, brings its arguments (and its imports), or
    every one for the `whole` parser."""
    parser = Parser(
        prog="sweep-agent",
        usage="sweep-agent COMMAND …",
        description=DESCRIPTION,
        epilog=overview(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=version("sweep-agent"))
    commands = parser.add_subparsers(
        dest="command",
        metavar="COMMAND",
        required=True,
        prog="sweep-agent",
        help=None if whole else argparse.SUPPRESS,  # the epilog lists them, by groups
    )
    for command in COMMANDS:
        child = commands.add_parser(
            command.name, help=command.help, description=command.help, allow_abbrev=False
        )
        if whole or command.name == name:
            function = f"add_{command.name.replace('-', '_')}_arguments"
            getattr(importlib.import_module(command.module), function)(child)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a user's mistake is one line on stderr and exit status 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    named = next((command for command in COMMANDS if words[:1] == [command.name]), None)
    parser = build_parser(named.name if named else None)
    if named is None and words and not words[0].startswith("-"):
        parser.error(unknown_name(words[0], [command.name for command in COMMANDS], "command"))
    if named is None and words and words[0] not in ("-h", "--help", "--version"):
        parser.error(parser.unknown_option(words[0]))
    args = parser.parse_args(words)
    args.words = words[1:]
    args.build_whole_parser = partial(build_parser, whole=True)
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
    except (
        OSError,
        sqlite3.Error,
    ) as error:  # a full disk, a quota, a missing file: the site's or the user's
        print(f"sweep-agent {named.name}: {one_line(error)}", file=sys.stderr)
        return fault_of(error).exit_status


if __name__ == "__main__":
    sys.exit(main())
