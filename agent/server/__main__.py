"""`python -m agent.server …`: the server's commands without the rest of the program."""

import argparse
import sys
from collections.abc import Sequence

from agent.errors import SweepAgentError
from agent.server import commands


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a user's mistake is told in one line and gives 2."""
    parser = argparse.ArgumentParser(prog="python -m agent.server", description=__doc__)
    names = parser.add_subparsers(dest="command", required=True)
    for name in ("serve", "env", "keys"):
        getattr(commands, f"add_{name}_arguments")(names.add_parser(name))
    args = parser.parse_args(arguments)
    try:
        return int(getattr(commands, f"run_{args.command}")(args))
    except SweepAgentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
