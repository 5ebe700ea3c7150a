"""`sweep-agent completion`: what a shell has to know to complete commands, options and files."""

import argparse
from pathlib import Path

import shtab

HOW = """\
bash:  sweep-agent completion bash > ~/.local/share/bash-completion/completions/sweep-agent
zsh:   sweep-agent completion zsh > DIRECTORY/_sweep-agent     (a DIRECTORY of your $fpath)
tcsh:  sweep-agent completion tcsh > ~/.sweep-agent.tcsh       (and source it from ~/.tcshrc)

The script holds every command and option, so that completing starts no Python. Write it again after
an update.
"""


def add_completion_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = HOW
    parser.add_argument("shell", choices=shtab.SUPPORTED_SHELLS, help="the shell to write for")


def run_completion(args: argparse.Namespace) -> int:
    """Print the script for the parser of all commands, which the command line hands over."""
    parser: argparse.ArgumentParser = args.build_whole_parser()
    _complete_paths(parser)
    print(shtab.complete(parser, shell=args.shell))
    return 0


def _complete_paths(parser: argparse.ArgumentParser) -> None:
    """Arguments that are paths, and sweep YAMLs, are completed from the disk."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                _complete_paths(child)
        elif action.type is Path or action.dest == "sweeps":
            action.__dict__["complete"] = shtab.FILE
