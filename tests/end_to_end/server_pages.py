"""How long pages take over a project of many runs: 10,000 runs of 100 points each."""

import json
import time
from pathlib import Path
from typing import Any

from agent.server.process import running_server
from agent.server.store.database import Database, insert
from tests.end_to_end.server_load import percentile_ms
from tests.end_to_end.server_neighbours import post
from tests.end_to_end.stored_runs import add_run

SCORE = "validation/f1_score"
VARIANTS = ("Full LoRA", "QLoRA", "LoRA+PTQ")


def fill(data: Path, entity: str, runs: int, points: int) -> None:
    """Runs as a study leaves them, written straight into the database."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = Database(data / "server.db")
    with database.write() as connection:
        times = {"created_at": 1e9, "updated_at": 1e9}
        project = insert(connection, "project", entity=entity, name="many", **times)
        for number in range(runs):
            rate = 10 ** -(2 + number % 30 / 10)
            config = {
                "learning_rate": rate,
                "model_variant": VARIANTS[number % 3],
                "seed": number % 7,
            }
            final, loss = 0.5 + number % 997 / 2000, "train/loss"
            summary = {loss: 1 / (1 + number), SCORE: final, "_step": points}
            lines = [
                {"_step": i, loss: 1 / (1 + i + number % 13), SCORE: final * i / points}
                for i in range(points)
            ]
            name, rows = f"run{number:05}", [json.dumps(line) for line in lines]
            add_run(connection, project, name, config, json.dumps(summary), rows, initialised=1)
    database.close()


def measure_pages(data: Path, runs: int = 10_000, points: int = 100) -> dict[str, Any]:
    """Seconds of the project page and of what its script asks for: the first time after a start,
    and in the median of ten."""
    entity = "local"
    fill(data, entity, runs, points)
    figures: dict[str, Any] = {"runs": runs, "points": points}
    with running_server(data, timeout_s=60) as server:
        key, base = server.env["WANDB_API_KEY"], f"{server.base_url}/{entity}/many"
        for name, path in (("page", ""), ("table", "/data"), ("curves", "/curves")):
            status, first_s = post(base + path, key, None)
            again = []
            for _ in range(10):
                time.sleep(0.1)
                again.append(post(base + path, key, None)[1])
            figures[name] = {
                "status": status,
                "first_s": round(first_s, 3),
                "median_s": round(percentile_ms(again, 0.5) / 1000, 3),
            }
    return figures
