"""`make prove`: the full counts behind every claim of faults and speed, written to proofs.json
and from there into the README's table.

    python -m tests.prove [training search intervals server cluster benchmark speed]
    python -m tests.prove server.pauses server.copies     some of a part whose main() takes names

Each part is a module `tests/tools/prove_PART.py` with a `main()` that returns its figures. A part
that is not named keeps what was written before; each carries its command, date and machine.
"""

import importlib
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent import files
from tests.tools import proofs_table

HERE = Path(__file__).parent
RESULTS = HERE / "proofs.json"
PARTS = ("training", "search", "intervals", "server", "cluster", "benchmark", "speed")


def main(words: Sequence[str]) -> int:
    unknown = sorted({word.partition(".")[0] for word in words} - set(PARTS))
    if unknown:
        print(f"unknown part {unknown[0]!r}; known: {', '.join(PARTS)}", file=sys.stderr)
        return 2
    failed = []
    for word in words or PARTS:
        part, _, name = word.partition(".")
        print(f"proving {word} …", flush=True)
        started = time.monotonic()
        try:
            module = importlib.import_module(f"tests.tools.prove_{part}")
            figures = module.main([name]) if name else module.main()
        except Exception:  # the other parts still count, and this one is reported as failed
            traceback.print_exc()
            print(f"{word} failed", file=sys.stderr)
            failed.append(word)
            continue
        for what in not_passed(figures):
            print(f"{word}: {what} did not pass", file=sys.stderr)
            failed.append(word)
        # Read now, not at the beginning: another part may have been proven side by side.
        results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        origin = {
            "command": f"python -m tests.prove {word}",
            "date": datetime.now(UTC).date().isoformat(),
            "machine": describe_machine(),
            "seconds": round(time.monotonic() - started),
        }
        if name:  # newer than the rest of its part
            known = results.setdefault(part, {**origin, "figures": {}})
            known["figures"] |= figures
            known.setdefault("renewed", {})[name] = origin
        else:
            results[part] = {**origin, "figures": figures}
        files.write_json(RESULTS, results)
        proofs_table.write_into_readme()
    return 1 if failed else 0


def not_passed(figures: Mapping[str, Any]) -> list[str]:
    """The claims that say of themselves that they did not hold; "all" for those of a whole part."""
    found = [name for name, value in figures.items() if isinstance(value, dict)]
    claims = {"all": figures} | {name: figures[name] for name in found}
    return [name for name, claim in claims.items() if claim.get("passed") is False]


def describe_machine() -> str:
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
