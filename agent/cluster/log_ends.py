"""Which lines of a task's log say why it ended: pure, and the reading of the log's end."""

import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from agent.tracking.early_ends import CHATTER

SHOWN = 8
_READ_BYTES = 256 * 1024
_BEGINS = re.compile(r"(\[rank\d+\]: ?)?Traceback \(most recent call last\):")
_RANK = re.compile(r"\[rank\d+\]: ?")
# torchrun's own, which stands below those of its ranks and says only that one of them has failed.
_OF_TORCHRUN = "torch.distributed.elastic."


def end_of_log(log: Path, *, has_failed: bool) -> list[str]:
    """What the log says of the end of its task."""
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - _READ_BYTES, 0))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return [f"({log.name} cannot be read: {error.strerror})"]
    return telling_lines(text.splitlines(), has_failed=has_failed)


def telling_lines(lines: Sequence[str], *, has_failed: bool, count: int = SHOWN) -> list[str]:
    """At most `count` lines: of a task that failed the end of its last traceback; else the last
    lines that a program has printed, without its agent's and wandb's; else the very last one.
    """
    own = [line.rstrip() for line in lines if not _is_chatter(line)]
    found = _last_traceback(own) if has_failed else []
    if found:
        first, rest = found[:1], found[1:]
        return found if len(found) <= count else [*first, "  …", *rest[-(count - 2) :]]
    said = [line for line, _ in groupby(own) if line.strip()]  # once what each run has repeated
    return said[-count:] or [line.rstrip() for line in lines[-1:]]


def _is_chatter(line: str) -> bool:
    return CHATTER.match(line) is not None and not line.startswith("wandb: ERROR")


def _last_traceback(lines: Sequence[str]) -> list[str]:
    """Its header, its frames and its exception with what follows up to an empty line."""
    for start in reversed(range(len(lines))):
        if not _BEGINS.match(lines[start]):
            continue
        block = [lines[start]]
        has_ended = False
        for line in lines[start + 1 :]:
            bare = _RANK.sub("", line, count=1)
            if not bare.strip() or (has_ended and _BEGINS.match(line)):
                break
            has_ended = has_ended or not bare.startswith(" ")
            block.append(line)
        ending = next((x for x in map(_bare, block[1:]) if not x.startswith(" ")), "")
        if not ending.startswith(_OF_TORCHRUN):
            return block
    return []


def _bare(line: str) -> str:
    return _RANK.sub("", line, count=1)
