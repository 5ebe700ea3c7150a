"""A logged-in user of a server with runs, who reads and clicks in a real browser."""

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.server.process import ServerAddress, running_server
from agent.server_note import login_header
from tests.end_to_end.pages_lab import (
    BROWSER,
    DRIVER,
    complaints,
    log_in,
    open_page,
    opened_browser,
    requested_hosts,
    wait_for,
)
from tests.end_to_end.pages_work import fill_work

needs_browser = pytest.mark.skipif(
    BROWSER is None or DRIVER is None, reason="no chromium with chromedriver on PATH"
)


@dataclass
class Desk:
    """A logged-in user with a browser, and the server it looks at."""

    server: ServerAddress
    driver: Any
    saved: Path = field(default_factory=Path)  # where downloads go

    @property
    def key(self) -> str:
        return self.server.env["WANDB_API_KEY"]

    def open(self, path: str) -> None:
        open_page(self.driver, self.server.base_url + path)

    def js(self, code: str, *arguments: Any) -> Any:
        return self.driver.execute_script(code, *arguments)

    def texts(self, selector: str) -> list[str]:
        code = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
        found: list[str] = self.js(code, selector)
        return found

    def choose(self, name: str, value: str) -> None:
        self.js(
            "const e = document.querySelector(arguments[0]); e.value = arguments[1];"
            "e.dispatchEvent(new Event(e.tagName === 'INPUT' ? 'input' : 'change'))",
            name,
            value,
        )

    def filter(self, text: str, count: str) -> None:
        """Write a filter and wait until the table says what passes it."""
        self.choose("[name=q]", text)
        self.wait(f"document.querySelector('#count').textContent.startsWith({json.dumps(count)})")

    def wait(self, condition: str) -> Any:
        return wait_for(self.driver, condition)

    def until(self, condition: Callable[[], bool], timeout_s: float = 20) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "this never came true"
            time.sleep(0.05)

    def click(self, selector: str) -> None:
        """A real click in the middle of an element, which is scrolled into sight first."""
        from selenium.webdriver.common.by import By

        element = self.driver.find_element(By.CSS_SELECTOR, selector)
        self.js("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        element.click()

    def chart(self, figure: str, expression: str) -> Any:
        """The value of an expression over `chart`, the chart of a figure."""
        return self.js(f"const {{chart}} = document.querySelector('{figure}'); return {expression}")

    def at_point(self, figure: str, run: str) -> tuple[Any, int, int]:
        """The plot of a chart, and how far a run's last point is from the plot's middle."""
        options = "{block: 'center', behavior: 'instant'}"
        self.js(f"document.querySelector('{figure}').scrollIntoView({options})")
        x, y = self.chart(
            figure,
            f"(() => {{ const p = chart.all().filter((p) => p.series.id === '{run}').at(-1);"
            " const {width, height} = chart.plot.over.getBoundingClientRect();"
            " return [p.px - width / 2, p.py - height / 2]; })()",
        )
        return self.chart(figure, "chart.plot.over"), round(x), round(y)

    def point_at(self, figure: str, run: str, *, press: bool = False) -> None:
        """Move the mouse to a run's last point; with `press` click there."""
        from selenium.webdriver import ActionChains

        plot, x, y = self.at_point(figure, run)
        moves = ActionChains(self.driver, duration=20).move_to_element_with_offset(plot, x, y)
        (moves.click() if press else moves).perform()

    def drag(self, element: Any, start: tuple[int, int], by: tuple[int, int]) -> None:
        """Press at an offset from an element's middle, move, and let go."""
        from selenium.webdriver import ActionChains

        moves = ActionChains(self.driver, duration=20).move_to_element_with_offset(element, *start)
        moves.click_and_hold().move_by_offset(*by).release().perform()

    def post(self, path: str, content: dict[str, Any]) -> None:
        """What a client sends while a page is open."""
        headers = {**login_header(self.key), "Content-Type": "application/json"}
        address = self.server.base_url + path
        request = urllib.request.Request(address, json.dumps(content).encode(), headers)
        urllib.request.urlopen(request, timeout=30).close()

    def is_quiet(self) -> bool:
        """Whether the console has no complaint and only the server was asked for anything."""
        assert complaints(self.driver) == []
        assert requested_hosts(self.driver) == {self.server.base_url.removeprefix("http://")}
        return True


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    pytest.importorskip("selenium", reason="selenium is not installed")
    folder = tmp_path_factory.mktemp("work")
    fill_work(folder / "data")
    with running_server(folder / "data") as server, opened_browser() as driver:
        (folder / "saved").mkdir()
        driver.execute_cdp_cmd(
            "Browser.setDownloadBehavior",
            {"behavior": "allow", "downloadPath": str(folder / "saved")},
        )
        log_in(driver, server.base_url, server.env["WANDB_API_KEY"], "/local/work")
        found = Desk(server, driver)
        found.saved = folder / "saved"
        yield found


def saved(desk: Desk, button: str, name: str) -> bytes:
    """What pressing a button saves."""
    path = desk.saved / name
    path.unlink(missing_ok=True)
    desk.click(button)
    desk.until(lambda: path.exists() and path.stat().st_size > 0)
    return path.read_bytes()


def colours(desk: Desk, figure: str) -> int:
    """How many colours a chart's canvas shows: what is drawn is more than paper and ink."""
    code = (
        "(() => { const c = chart.plot.ctx.canvas; const seen = new Set(); const data ="
        " chart.plot.ctx.getImageData(0, 0, c.width, c.height).data;"
        " for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 200)"
        " seen.add(data[i] << 16 | data[i + 1] << 8 | data[i + 2]); return seen.size; })()"
    )
    count: int = desk.chart(figure, code)
    return count
