"""The README's pictures, from what `make demo` has left behind.

    python -m tests.tools.make_pictures [outputs/demo]

Three figures of the report, and the project's page in a headless Chromium over the server's data.
Written to `docs/`, small enough to be committed.
"""

import io
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from agent.server.process import running_server
from tests.end_to_end.pages_lab import log_in, open_page, opened_browser, wait_for

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs"
FIGURES = {"retention": "retention-wide", "pareto": "pareto", "convergence": "convergence"}
PAGE_SIZE = (1240, 1130)  # the variants and both charts
MAX_BYTES = 120_000
COLOURS = 256  # of a palette: text and lines stay sharp, and the file is a third of the size


def main(demo: Path) -> None:
    PICTURES.mkdir(exist_ok=True)
    for name, figure in FIGURES.items():
        _save(name, (demo / "figures" / f"{figure}.png").read_bytes())
    _save("project_page", _photograph(demo / "server"))


def _photograph(data: Path) -> bytes:
    width, height = PAGE_SIZE
    with running_server(data) as server, opened_browser(width, height) as driver:
        log_in(driver, server.base_url, server.env["WANDB_API_KEY"])
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        open_page(driver, f"{server.base_url}/{server.entity}/sweep-agent-demo")
        wait_for(driver, "document.querySelector('#scatter').chart?.seen?.length > 0")
        picture: Any = driver.get_screenshot_as_png()
        return bytes(picture)


def _save(name: str, content: bytes) -> None:
    """As a PNG with a palette. ValueError when it is too large to be committed."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(content)) as picture:
        small = picture.convert("RGB").quantize(COLOURS, Image.Quantize.FASTOCTREE)
        small.save(out, "PNG", optimize=True)
    if len(out.getvalue()) > MAX_BYTES:
        raise ValueError(f"{name}.png has {len(out.getvalue())} bytes; at most {MAX_BYTES}")
    (PICTURES / f"{name}.png").write_bytes(out.getvalue())
    print(f"docs/{name}.png  {len(out.getvalue()) / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "outputs" / "demo")
