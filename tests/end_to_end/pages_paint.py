"""How soon a project page of 1,000 runs with 100 points each is on the screen.

`python -m tests.end_to_end.pages_paint` prints the figures as JSON; nothing is asserted here. The
server is cold at the first visit (no run has been read yet) and warm at the second.
"""

import json
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
const heads = () => document.querySelectorAll("#runs thead button");
const rows = document.querySelector("[name=rows]");
const all = () => { rows.value = "all"; rows.dispatchEvent(new Event("change")); };
const box = document.querySelector("[name=q]");
const filter = () => { box.value = "qlora"; box.dispatchEvent(new Event("input")); };
return {sort_ms: timed(() => heads()[4].click()), show_all_rows_ms: timed(all),
        sort_all_rows_ms: timed(() => heads()[5].click()), filter_ms: timed(filter)};
"""


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
            own = server.base_url.removeprefix("http://")
            figures["complaints"] = complaints(driver)
            figures["foreign_hosts"] = sorted(requested_hosts(driver) - {own})
    return figures


if __name__ == "__main__":
    print(json.dumps(measure_pages(), indent=2))
