"""A small project in which everything happens that a page has to show: runs that failed, crashed,
were pruned and still run, values that are missing or not finite, long names, many keys, predictions
with their prompts, and a sweep whose metric hangs on one parameter."""

import json
from pathlib import Path
from typing import Any

from agent.server.store.blobs import BlobStore
from agent.server.store.database import Connection, Database, insert
from tests.end_to_end.stored_runs import add_run
from tests.server.pages_reader import add_predictions

RUNS, POINTS = 30, 20
LONG = "a-name-of-sixty-characters-that-no-column-was-ever-made-for-"
HUGE = "1" + "0" * 400
SWEEP = """
name: weighed
method: grid
metric: {name: score, goal: maximize}
parameters:
  learning_rate: {values: [0.0001, 0.001, 0.01]}
  optimizer: {values: [adam, sgd]}
  seed: {values: [1, 2]}
"""


def fill_work(data_dir: Path) -> None:
    """Projects `work` (25 runs of five variants and five odd ones), `weighed` (a sweep), `ranks`
    (three groups that are not compared with each other) and `empty`."""
    data_dir.mkdir(parents=True, exist_ok=True)
    database = Database(data_dir / "server.db")
    blobs = BlobStore(data_dir / "blobs")
    with database.write() as connection:
        project = _project(connection, "work")
        for place in range(RUNS):
            _run(connection, project, place)
        for name, shift in (("run3", 0), ("run8", 1)):
            _predictions(connection, blobs, name, shift)
        _sweep(connection)
        _project(connection, "empty")
        ranks = _project(connection, "ranks")
        for place in range(30):
            _run(connection, ranks, place, {"lora_rank": [8, 16, 32][place // 10]})
    database.close()


def _project(connection: Connection, name: str) -> int:
    return insert(connection, "project", entity="local", name=name, created_at=1e9, updated_at=1e9)


def _variant(place: int) -> dict[str, Any]:
    variants = [("Full LoRA", "None"), ("QLoRA", "int4"), ("QLoRA", "int8")]
    variants += [("LoRA+PTQ", "int8"), ("LoRA+PTQ", "int4")]
    model, strategy = variants[place % 5]
    return {"model_variant": model, "quantization_strategy": strategy}


def _run(
    connection: Connection, project: int, place: int, more: dict[str, Any] | None = None
) -> None:
    states = {25: "failed", 26: "crashed", 27: "running"}
    config: dict[str, Any] = {
        **_variant(place),
        "learning_rate": [1e-4, 3e-4][place // 5 % 2],
        "seed": place // 10,
        "dataset": "nq",
        **(more or {}),
    }
    score = 0.5 + place % 7 / 20 + place / 10_000
    rows = [
        json.dumps({"_step": i, "epoch": (i + 1) / 10, "loss": 2 / (i + 1), "f1": score * i / 20})
        for i in range(POINTS)
    ]
    summary: dict[str, Any] = {
        "final/validation_f1_score": score,
        "inference/model_size_gb": [5.25, 2.125, 3.0, 3.0, 1.875][place % 5],
        "inference/avg_latency_ms_per_sample": 20.0 + place,
        "train/peak_vram_gb": [12.5, 6.25, 8.0, 12.0, 12.0][place % 5],
        "loss": 0.1,
        "f1": score,
        "_runtime": 60.0,
    }
    text = json.dumps(summary)
    if place == 28:  # values that are not finite, and a gap
        rows[5:8] = ['{"_step": 5, "epoch": 0.6, "loss": NaN, "f1": null}']
        rows += [f'{{"_step": 60, "epoch": 6, "loss": {HUGE}, "f1": "Infinity"}}']
        text = text[:-1] + f', "loss": NaN, "huge": {HUGE}, "f1": "NaN"}}'
    if place == 29:
        config |= {f"{LONG}{i}": i for i in range(200)}
    run_id = add_run(
        connection,
        project,
        f"run{place}",
        config,
        text,
        rows,
        created_at=1e9 + place,
        seconds=None if place == 27 else 3600,
        display_name=f"{LONG}{place}" if place >= 28 else f"run {place}",
        state=states.get(place, "finished"),
        tags=json.dumps(["pruned"] if place == 24 else []),
    )
    if place == 3:
        console = "ERROR 2026-01-01T00:00:00.000000 loading: 100%"
        connection.execute(
            "INSERT INTO stream_line VALUES (?, 'output', 0, NULL, ?)", (run_id, console)
        )
        connection.execute("UPDATE run SET log_lines = 1 WHERE id = ?", (run_id,))


def _predictions(connection: Connection, blobs: BlobStore, run: str, shift: int) -> None:
    records = [
        {
            "example_id": str(i),
            "prompt": f"question {i}?",
            "output": f"answer {i + shift}",
            "gold": [f"answer {i}"],
            "score": float(shift == 0 or i % 2),
        }
        for i in range(6)
    ]
    content = "\n".join(map(json.dumps, records)).encode()
    add_predictions(connection, blobs, run, content, 1e9)


def _sweep(connection: Connection) -> None:
    project = _project(connection, "weighed")
    sweep = insert(
        connection,
        "sweep",
        project_id=project,
        name="weighed-1",
        config=SWEEP,
        state="FINISHED",
        created_at=1e9,
        updated_at=1e9,
    )
    rates, optimizers, seeds = [1e-4, 1e-3, 1e-2], ["adam", "sgd"], [1, 2]
    points = [(r, o, s) for r in rates for o in optimizers for s in seeds]
    for place, (rate, optimizer, seed) in enumerate(points):
        config: dict[str, Any] = {"learning_rate": rate, "optimizer": optimizer, "seed": seed}
        score = {1e-4: 0.2, 1e-3: 0.8, 1e-2: 0.5}[rate] + seed / 1000
        summary: dict[str, Any] = {"inference/model_size_gb": 1.5}
        if place != 5:  # one has no score
            summary["score"] = score
        text, title = json.dumps(summary), f"point {place}"
        add_run(connection, project, f"w{place}", config, text, sweep_id=sweep, display_name=title)
