"""Any JSON number, key and length a client may send: stored, and every page still shown."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from agent.server.store.claims import Policy
from tests.server.server_lab import KEY, Lab

HUGE = "1" + "0" * 400
ODD_NUMBERS = [HUGE, f"-{HUGE}", "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e-400"]
ODD_NUMBERS += ["0", "-0.0", "9223372036854775808", "1" * 18, "1e308", "2.5e-320", "true", "null"]
ODD_TEXTS = ["", " ", "\u0000", "\ud800", "a" * 3000, "𝄞", "<script>", "{{x}}", "a.b.c", "_x"]
ODD_TEXTS += ["name", "state", "created", "duration_s", "__proto__", "é/ü", '"', "\\", "\n", "$.x"]
PATHS = ("", "/data", "/runs/r", "/runs/r/data", "/curves?key=loss", "?sort=loss&order=desc&q=x>1")


def odd_json(chance: random.Random, depth: int = 0) -> str:
    """The text of an odd JSON value; numbers that Python's writer would not write among them."""
    kind = chance.random()
    if depth > 3 or kind < 0.5:
        return chance.choice(ODD_NUMBERS)
    if kind < 0.7:
        return json.dumps(chance.choice(ODD_TEXTS))
    items = [odd_json(chance, depth + 1) for _ in range(chance.randrange(4))]
    if kind < 0.8:
        return f"[{','.join(items)}]"
    return odd_object(chance, depth + 1)


def odd_object(chance: random.Random, depth: int = 0) -> str:
    keys = [*chance.sample(ODD_TEXTS, chance.randrange(1, 5)), "loss"]
    return "{" + ",".join(f"{json.dumps(key)}:{odd_json(chance, depth)}" for key in keys) + "}"


def _refuse_constant(name: str) -> None:
    pytest.fail(f"{name} is no JSON")


def read_every_page(lab: Lab, project: str = "p") -> None:
    for path in PATHS:
        response = lab.http.get(f"/local/{project}{path}", auth=("api", KEY))
        assert response.status_code == 200, (path, response.text[-300:])
        if "data" in path or "curves" in path:
            json.loads(response.text, parse_constant=_refuse_constant)
    lab.ask(
        f'{{project(name: "{project}") {{runs(order: "+summary_metrics.loss", '
        'filters: "{\\"summary_metrics.loss\\": {\\"$gt\\": 5}}") {edges {node {name '
        "summaryMetrics config historyKeys history(samples: 3) wandbConfig historyTail}}}}}"
    )


@pytest.mark.parametrize("number", ODD_NUMBERS)
def test_an_odd_number_breaks_no_page(number: str, lab: Lab) -> None:
    text = f'{{"loss": {number}, "nested": {{"loss": [{number}]}}}}'
    config = f'{{"lr": {{"value": {number}}}, "_wandb": {{"value": {{"t": {number}}}}}}}'
    lab.init("r", config=config, summaryMetrics=text)
    lab.init("other")
    row = f'{{"_step": {number}, "epoch": {number}, "_runtime": {number}, "loss": {number}}}'
    files = {
        "wandb-history.jsonl": {"offset": 0, "content": [row, '{"_step": 1, "loss": 2}']},
        "wandb-events.jsonl": {"offset": 0, "content": [row]},
        "wandb-summary.json": {"offset": 0, "content": [text]},
    }
    lab.post("r", {"files": files})
    read_every_page(lab)


def test_what_an_older_server_stored_breaks_no_page(lab: Lab) -> None:
    """A bare NaN or a number of 400 digits in the rows themselves."""
    lab.init("r")
    odd = f'{{"loss": NaN, "f1": {HUGE}, "a": 1e999, "validation/f1_score": -Infinity}}'
    with lab.services.database.write() as connection:
        connection.execute("UPDATE run SET summary = ?, config = ?", (odd, odd))
    for path in PATHS:
        assert lab.http.get(f"/local/p{path}", auth=("api", KEY)).status_code == 200, path


def test_a_fuzz_of_odd_values_breaks_no_page(tmp_path: Path) -> None:
    """File stream, summary, config and GraphQL variables; all pages are read afterwards."""
    for seed in range(12):
        fuzz(tmp_path / str(seed), random.Random(seed), rounds=10)


def fuzz(folder: Path, chance: random.Random, rounds: int) -> None:
    folder.mkdir(mode=0o700)
    lab = Lab(folder, Policy())
    lab.init("r")
    try:
        for _ in range(rounds):
            send_odd_things(lab, chance)
        read_every_page(lab)
    finally:
        lab.http.close()
        lab.services.database.close()


def send_odd_things(lab: Lab, chance: random.Random) -> None:
    """Each is stored or refused; none makes the server fail."""
    names = ["wandb-history.jsonl", "wandb-events.jsonl", "wandb-summary.json", "output.log"]
    part = {
        "files": {
            name: {
                "offset": chance.randrange(5),
                "content": [odd_object(chance) for _ in range(chance.randrange(1, 4))],
            }
            for name in chance.sample(names, 2)
        }
    }
    document = "mutation M($i: UpsertBucketInput!) {upsertBucket(input: $i) {bucket {config}}}"
    variables: dict[str, Any] = {
        "name": "r",
        "modelName": "p",
        "config": odd_object(chance),
        "displayName": chance.choice(ODD_TEXTS),
        "tags": [chance.choice(ODD_TEXTS)],
        "summaryMetrics": odd_object(chance),
    }
    odd_variables = f'{{"i": {odd_object(chance)}}}'
    bodies = [
        ("/files/local/p/r/file_stream", json.dumps(part)),
        ("/graphql", json.dumps({"query": document, "variables": {"i": variables}})),
        ("/graphql", f'{{"query": {json.dumps(document)}, "variables": {odd_variables}}}'),
    ]
    for path, body in bodies:
        content = body.encode("utf-8", "surrogatepass")
        headers = {"Content-Type": "application/json"}
        response = lab.http.post(path, content=content, headers=headers, auth=("api", KEY))
        assert response.status_code < 500, (path, body[:500], response.text)
