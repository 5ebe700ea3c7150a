"""The README's tables of pruning rules, made from `docs/pruning_frontier.json`.

python -m tests.tools.pruning_table        writes them between the README's markers
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.search.replay import families

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
FRONTIER = ROOT / "docs" / "pruning_frontier.json"
BEGIN, END = "<!-- pruning: made by tests/tools/pruning_table.py -->\n", "<!-- /pruning -->"
BEGIN_KEPT, END_KEPT = "<!-- kept: made by tests/tools/pruning_table.py -->\n", "<!-- /kept -->"
KNOWN = (*families.ORDINARY, *families.LATE)
NAMES = {
    "top_1": "first rung, then the best",
    "top_2": "first rung, then the top 2",
    "top_3": "first rung, then the top 3",
    "wandb_hyperband": "W&B's `hyperband`",
    "none": "no pruning",
}


def render(found: Mapping[str, Any]) -> str:
    """A line per rule as it ships, at warm-up 1."""
    lines = [
        "| rule | of an oracle's saving | winner kept: ordinary | the worst "
        "| one-rung lag | late sigmoid | unseen families | unseen late ones | real: saving | kept "
        "| equal runs stopped | cost |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found["report"]:
        if row["warmup"] == 1:
            lines.append("| " + " | ".join(_cells(row)) + " |")
    return "\n".join([*lines, ""])


def _cells(row: Mapping[str, Any]) -> list[str]:
    by_family, name = row["families"], row["setting"]
    unseen, late = (
        min(by_family[family]["kept"] for family in group)
        for group in (families.UNSEEN, families.UNSEEN_LATE)
    )
    shares = [
        row["share"],
        row["kept"],
        row["least_kept"],
        by_family["one_rung_lag"]["kept"],
        by_family["late_sigmoid"]["kept"],
        unseen,
        late,
        by_family["real"]["share"],
        by_family["real"]["kept"],
        row["equal_stopped"],
    ]
    return [_said(name), *(f"{100 * share:.0f} %" for share in shares), f"{row['cost']:.2f}"]


def _said(name: str) -> str:
    return NAMES.get(name, f"`{name}`" if name.startswith("paired") else f"Optuna's `{name}`")


def render_kept(found: Mapping[str, Any]) -> str:
    """How often each rule keeps the winner in each known family, and what it saves there."""
    words = [name.replace("_", " ") for name in KNOWN]
    lines = [f"| rule | {' | '.join(words)} |", f"|---|{'---|' * len(KNOWN)}"]
    for row in found["report"]:
        if row["warmup"] == 1:
            each = [row["families"][name] for name in KNOWN]
            texts = [f"{100 * one['kept']:.0f} % ({100 * one['share']:.0f})" for one in each]
            lines.append(f"| {_said(row['setting'])} | {' | '.join(texts)} |")
    return "\n".join([*lines, ""])


def write_into_readme() -> None:
    text = README.read_text()
    found = json.loads(FRONTIER.read_text())
    for begin, end, made in (
        (BEGIN, END, render(found)),
        (BEGIN_KEPT, END_KEPT, render_kept(found)),
    ):
        before, rest = text.split(begin)
        _, after = rest.split(end)
        text = f"{before}{begin}{made}{end}{after}"
    README.write_text(text)


if __name__ == "__main__":
    write_into_readme()
