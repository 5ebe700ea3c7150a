"""How soon a project page of 1,000 runs with 100 points each is on the screen.

`python -m tests.end_to_end.pages_paint [RUNS [POINTS]]` prints the figures as JSON; nothing is
asserted here. The server is cold at the first visit (no run has been read yet) and warm at the
second.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from agent.server.process import running_server
from tests.end_to_end.pages_lab import (
    complaints,
    fill,
    log_in,
    open_page,
    opened_browser,
    paint_ms,
    requested_hosts,
)

_SORT = """
const timed = (work) => {
  const start = performance.now(); work(); document.body.offsetHeight;
  return Math.round(performance.now() - start);
};
const head = (key) => document.querySelector(`#runs thead [title="${key}"]`);
const rows = document.querySelector("[name=rows]");
const all = (value) => { rows.value = value; rows.dispatchEvent(new Event("change")); };
const figures = {
  sort_ms: timed(() => head("learning_rate").click()),
  show_all_rows_ms: timed(() => all("all")),
  sort_all_rows_ms: timed(() => head("final/validation_f1_score").click()),
};
all("100");
return figures;
"""
# From the key press to the table that shows what passes, with the server's answer between.
_FILTER = """
const [text, done] = arguments;
const box = document.querySelector("[name=q]");
const count = document.querySelector("#count");
const start = performance.now();
new MutationObserver((_, watcher) => {
  watcher.disconnect();
  document.body.offsetHeight;
  done([Math.round(performance.now() - start), count.textContent]);
}).observe(count, {childList: true, characterData: true, subtree: true});
box.value = text;
box.dispatchEvent(new Event("input"));
"""
_WEIGHT = """
return performance.getEntriesByType("resource").filter((entry) => /\\.js$/.test(entry.name))
  .reduce((sum, entry) => sum + entry.decodedBodySize, 0);
"""
FILTERS = (
    "qlora",
    'variant:"QLoRA int4" learning_rate<=1e-4',
    "-state:running seed>3",
    "no-such-word",
)


def measure_pages(runs: int = 1000, points: int = 100) -> dict[str, Any]:
    """First paint (cold and warm), all data, sorting and filtering; console errors and hosts."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        fill(data, runs, points)
        with running_server(data) as server, opened_browser() as driver:
            log_in(driver, server.base_url, server.env["WANDB_API_KEY"])
            figures: dict[str, Any] = {"runs": runs, "points": points}
            for visit in ("cold", "warm"):
                open_page(driver, f"{server.base_url}/local/study")
                figures[visit] = paint_ms(driver)
            figures["table"] = driver.execute_script(_SORT)
            figures["filter_ms"] = {
                text: driver.execute_async_script(_FILTER, text) for text in FILTERS
            }
            figures["script_bytes"] = driver.execute_script(_WEIGHT)
            own = server.base_url.removeprefix("http://")
            figures["complaints"] = complaints(driver)
            figures["foreign_hosts"] = sorted(requested_hosts(driver) - {own})
    return figures


if __name__ == "__main__":
    print(json.dumps(measure_pages(*map(int, sys.argv[1:])), indent=2))
