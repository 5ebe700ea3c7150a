"""A data directory full of runs, and a headless browser that looks at the pages over it."""

import json
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.config.variants import VARIANTS
from agent.server.store.database import Connection, Database, insert
from tests.end_to_end.stored_runs import add_run

HOSTILE = "<img src=x onerror=alert(1)>\"'&</script>{{7*7}}"
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
DRIVER = shutil.which("chromedriver")
SWEEP = """
name: seeded
method: grid
metric: {name: validation/f1_score, goal: maximize}
parameters:
  learning_rate: {values: [0.0001, 0.001, 0.01]}
  rank: {values: [8, 16]}
"""
_RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)


def fill(data_dir: Path, runs: int, points: int, project: str = "study") -> None:
    """Runs as the study makes them, the first with a hostile name; one of them still runs."""
    data_dir.mkdir(parents=True, exist_ok=True)
    database = Database(data_dir / "server.db")
    with database.write() as connection:
        project_id = insert(
            connection, "project", entity="local", name=project, created_at=1e9, updated_at=1e9
        )
        sweep_id = insert(
            connection,
            "sweep",
            project_id=project_id,
            name=f"seeded-{project}",
            config=SWEEP,
            state="RUNNING",
            created_at=1e9,
            updated_at=1e9,
        )
        for place in range(runs):
            _add_run(connection, project_id, sweep_id if place < 4 else None, place, points)
    database.close()


def _add_run(
    connection: Connection, project_id: int, sweep_id: int | None, place: int, points: int
) -> None:
    variant = VARIANTS[place % len(VARIANTS)]
    rate = _RATES[place // len(VARIANTS) % len(_RATES)]
    config = {
        "model_variant": variant.model_variant,
        "quantization_strategy": variant.quantization_strategy,
        "learning_rate": rate,
        "seed": place // 25,
        "batch_size": 32,
        "epochs": 3,
        **{f"setting_{i}": i for i in range(30)},
    }
    rows = [_point(place, i, points) for i in range(points)]
    summary = {
        **rows[-1],
        "final/validation_f1_score": rows[-1]["validation/f1_score"],
        "inference/avg_latency_ms_per_sample": 20 + place % 7 * 11.5 + place / 97,
        "inference/model_size_gb": [5.2, 2.1, 3.1, 3.0, 1.9][place % 5],
        **{f"extra/metric_{i}": math.sin(place + i) for i in range(30)},
    }
    add_run(
        connection,
        project_id,
        f"run{place:05d}",
        config,
        json.dumps(summary),
        [json.dumps(row) for row in rows],
        created_at=1e9 + place,
        seconds=None if place == 1 else 600,
        sweep_id=sweep_id,
        display_name=HOSTILE if place == 0 else f"run {place}",
    )


def _point(place: int, index: int, points: int) -> dict[str, Any]:
    done = (index + 1) / points
    return {
        "_step": index,
        "epoch": 3 * done,
        "train/loss": 2.5 * math.exp(-done * 3) + 0.05 * math.sin(place + index),
        "validation/f1_score": (0.4 + place % 17 / 40) * (1 - math.exp(-4 * done))
        + 0.02 * math.sin(place * 3 + index),
    }


@contextmanager
def opened_browser(width: int = 1300, height: int = 900) -> Iterator[Any]:
    """A headless Chromium of its own, whose console and requests are remembered."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for word in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        f"window-size={width},{height}",
    ):
        options.add_argument(f"--{word}")
    options.binary_location = str(BROWSER)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(60)
    try:
        yield driver
    finally:
        driver.quit()


def requested_hosts(driver: Any) -> set[str]:
    """Every host that the browser has sent a request to so far."""
    from urllib.parse import urlsplit

    hosts = set()
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            parts = urlsplit(message["params"]["request"]["url"])
            if parts.scheme in ("http", "https", "ws", "wss"):
                hosts.add(str(parts.netloc))
    return hosts


def complaints(driver: Any) -> list[str]:
    """What the console says since the last call, but for mere hints."""
    return [
        entry["message"]
        for entry in driver.get_log("browser")
        if entry["level"] in ("SEVERE", "WARNING")
    ]


def wait_for(driver: Any, condition: str, timeout_s: float = 30) -> Any:
    """The value of a JavaScript expression as soon as it is truthy. TimeoutError otherwise."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = driver.execute_script(f"return {condition}")
        if found:
            return found
        time.sleep(0.05)
    raise TimeoutError(f"this page never had: {condition}")


def log_in(driver: Any, base_url: str, key: str, path: str = "/") -> None:
    """Ask for a page, give the key it asks for, and arrive there."""
    from selenium.webdriver.common.by import By

    driver.get(base_url + path)
    driver.find_element(By.NAME, "key").send_keys(key)
    driver.find_element(By.CSS_SELECTOR, "main button").click()
    wait_for(driver, "document.readyState === 'complete' && !document.querySelector('.login')")


def open_page(driver: Any, address: str) -> None:
    """A page whose script has done its first work."""
    driver.get(address)
    wait_for(driver, "document.documentElement.dataset.ready")


def paint_ms(driver: Any) -> dict[str, float]:
    """Milliseconds from the click to the first content, and until script and charts are done."""
    found = driver.execute_script(
        "const paint = performance.getEntriesByName('first-contentful-paint')[0];"
        "const loads = performance.getEntriesByType('resource').map((entry) => entry.responseEnd);"
        "return {first_paint_ms: paint.startTime, all_data_ms: Math.max(...loads)}"
    )
    return {name: round(float(value), 1) for name, value in found.items()}
