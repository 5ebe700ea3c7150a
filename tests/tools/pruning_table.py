"""The README's table of pruning rules, made from `docs/pruning_frontier.json`.

python -m tests.tools.pruning_table        writes it between the README's markers
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
    said = NAMES.get(name, f"`{name}`" if name.startswith("paired") else f"Optuna's `{name}`")
    return [said, *(f"{100 * share:.0f} %" for share in shares), f"{row['cost']:.2f}"]


def write_into_readme() -> None:
    text = README.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    README.write_text(f"{before}{BEGIN}{render(json.loads(FRONTIER.read_text()))}{END}{after}")


if __name__ == "__main__":
    write_into_readme()
