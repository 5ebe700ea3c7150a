"""`python -m agent.tracking.agent_program agent … SWEEP`: wandb's own agent, awake when a run ends.

It asks for its first command before it imports wandb; when there is no work, it exits without
importing it. With `--first-commands-on-input` a supervisor has asked.

wandb's agent waits 5 s before its first question to the server and looks at its run every 5 s: of
each grid point that is 2.5 s of an idle GPU on average. Here the same agent is woken as soon as
there is something to ask; while a run lives, or without work, it asks every 5 s.

A run that has waited for the site's fault as long as it may ends with 74, its point handed back
uncharged. So does the agent then: it would be given the same point at once. With 78 it ends where
programs end before they reach W&B.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from agent.errors import DISK_ERRNOS, NOT_INSTALLED, Fault, TrackingError, one_line
from agent.log_noise import outlive_a_full_log
from agent.tracking.early_ends import EarlyEnds
from agent.tracking.endpoint import ServerAccess
from agent.tracking.first_commands import ON_INPUT, FirstCommands, first_commands, hand_back

if TYPE_CHECKING:
    from wandb.wandb_agent import Agent

LOOK_EVERY_S = 0.1
AT_ONCE_S = 0.01
NO_PROGRAM = 127  # as a shell says it
WANDBS_OWN_S = 5.0  # between two questions of an agent without work, and two looks at its run


def seconds_to_wait(agent: "Agent", note_end: Callable[[str, int], None]) -> float:
    """How long the agent may wait for a command from its own process. Returns when its run has
    ended and was noted, or after wandb's interval; a signal's exception passes through.
    """
    if not hasattr(agent, "_has_asked"):
        agent._has_asked = True  # type: ignore[attr-defined]  # a mark of our own
        return AT_ONCE_S
    running = dict(getattr(agent, "_run_processes", {}))
    if not running:
        return WANDBS_OWN_S
    until = time.monotonic() + WANDBS_OWN_S
    while time.monotonic() < until and all(each.poll() is None for each in running.values()):
        time.sleep(LOOK_EVERY_S)
    codes = {run_id: code for run_id, each in running.items() if (code := each.poll()) is not None}
    if Fault.SITE.exit_status in codes.values():
        leave(Fault.SITE.exit_status)
    for run_id, code in codes.items():
        note_end(run_id, code)
    return AT_ONCE_S


def leave(status: int) -> NoReturn:
    """End at once. The runs are processes of their own and have ended; wandb's farewell to its
    service would wait for up to 5 s with nothing to send, and the service sees that this process
    has gone.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def ask_before_wandb(sweep: str) -> FirstCommands | None:
    """What there is to do; None where wandb's agent has to find out by itself, and to say so.

    So it has on W&B's cloud, which does not hand out again the point of an agent that ended between
    the answer and the start of its run; a server of one's own does when the claim's lease is over.
    """
    if not ServerAccess(os.environ.get("WANDB_BASE_URL")).hands_out_crashed:
        return None
    try:
        return first_commands(sweep, os.environ, every_s=WANDBS_OWN_S)
    except (OSError, ValueError, KeyError, TypeError, TrackingError):
        return None


def go_on_from(first: FirstCommands) -> None:
    """Let wandb's agent be the one that has registered, with the commands that it was given."""
    from wandb.apis.public import sweeps
    from wandb.wandb_agent import Agent

    ask_server = Agent._heartbeat_commands
    given = [first.commands]

    def commands(agent: Agent, agent_id: str, run_status: dict[str, bool]) -> list[dict[str, Any]]:
        return given.pop() if given else ask_server(agent, agent_id, run_status)

    sweeps._register_agent = lambda *_words, **_names: {"id": first.agent_id}
    Agent._heartbeat_commands = commands  # type: ignore[method-assign,assignment]  # replaced on purpose


def say_what_cannot_start(note_end: Callable[[str, int, str], None]) -> None:
    """wandb's agent logs a program that the system does not start, and is given its point again."""
    from wandb.wandb_agent import Agent

    start = Agent._command_run

    def start_or_say(agent: Agent, command: dict[str, Any]) -> object:
        print(f"agent: run {command['run_id']} begins", flush=True)  # for `logs`
        try:
            return start(agent, command)  # type: ignore[no-untyped-call]  # the client has no types there
        except OSError as error:
            if error.errno in DISK_ERRNOS:
                leave(Fault.SITE.exit_status)
            note_end(command["run_id"], NO_PROGRAM, one_line(error))
            raise

    Agent._command_run = start_or_say  # type: ignore[method-assign]  # replaced on purpose


def main() -> None:
    outlive_a_full_log()
    try:
        if sys.argv[1:2] == [ON_INPUT]:
            del sys.argv[1]
            first: FirstCommands | None = FirstCommands.from_json(sys.stdin.read())
        else:
            first = ask_before_wandb(sys.argv[-1])
    except KeyboardInterrupt:
        leave(128 + signal.SIGINT)
    if first is not None and first.is_exit:
        print(f"agent: {sys.argv[-1]} has no grid point for one more agent", flush=True)
        return
    from wandb.cli import cli

    from agent.tracking.client import wandb  # with its settings of how the client waits

    ends = EarlyEnds(sys.argv[-1])

    def note_end(run_id: str, code: int, said: str = "") -> None:
        if ends.note(run_id, code, said):
            if first is not None:
                hand_back(first.agent_id, os.environ)
            leave(NOT_INSTALLED)

    # A number there, read at every turn: as a property it is asked anew each time.
    wandb.wandb_agent.Agent.POLL_INTERVAL = property(  # type: ignore[assignment]  # a property on purpose
        lambda agent: seconds_to_wait(agent, note_end)
    )
    say_what_cannot_start(note_end)
    if first is not None:
        go_on_from(first)
    try:
        cli.cli(prog_name="wandb")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        leave(ends.exit_status(status))


if __name__ == "__main__":
    main()
