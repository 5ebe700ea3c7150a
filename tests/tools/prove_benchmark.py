"""How well the latency of one model repeats, and how soon a page of 1,000 runs is painted:
`python -m tests.tools.prove_benchmark [--rounds 30]`.

Two fresh processes serve the same adapter, as two benchmarks of one run would; query by query they
are measured in turn, and each pair gives one ratio of latencies. What the machine does meanwhile
hits both, so the median of the ratios is what the benchmark itself adds.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
QUERIES = 16
ROUNDS = 30
NEW_TOKENS = 24


def main(rounds: int = ROUNDS, queries: int = QUERIES) -> dict[str, Any]:
    """The figures of the latencies, and under `pages` those of the project page."""
    return {**measure_latencies(rounds, queries), "pages": measure_pages()}


def measure_pages() -> dict[str, Any]:
    """First paint, all data, sorting and filtering in a headless Chromium; why not, where there is
    none."""
    from tests.end_to_end import pages_lab, pages_paint

    if pages_lab.BROWSER is None or pages_lab.DRIVER is None:
        return {"not_measured": "no chromium with chromedriver on PATH"}
    found = pages_paint.measure_pages()
    paints = [found[visit]["first_paint_ms"] for visit in ("cold", "warm")]
    return {**found, "is_first_paint_below_2_s": max(paints) < 2000}


def measure_latencies(rounds: int = ROUNDS, queries: int = QUERIES) -> dict[str, Any]:
    """The ratios, the token counts that have to agree, and what the warm-up keeps out."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        root = Path(folder)
        adapter = _train(root)
        first, second = (stack.enter_context(_server(root, adapter, queries)) for _ in range(2))
        pairs = []
        for number in range(rounds * queries):
            # Either goes first in turn, so that drift cancels out.
            order = (first, second) if number % 2 == 0 else (second, first)
            answers = {id(server): _ask(server, str(number % queries)) for server in order}
            pairs.append((answers[id(first)], answers[id(second)]))
        return figures(pairs, queries, [_ask(server, "cold") for server in (first, second)])


def figures(pairs: Sequence[tuple[Any, Any]], queries: int, cold: Sequence[Any]) -> dict[str, Any]:
    """From what the two processes said: a pair for each query of each round, and once their very
    first query, which no measurement counts."""
    ratios = [one["latency_s"] / other["latency_s"] for one, other in pairs]
    middle = statistics.median(ratios)
    cuts = statistics.quantiles(ratios, n=4)
    return {
        "rounds": len(pairs) // queries,
        "queries_per_round": queries,
        "median_ratio": round(middle, 4),
        "quartiles_of_the_ratio": [round(cuts[0], 4), round(cuts[2], 4)],
        "is_within_10_percent": abs(middle - 1) <= 0.1,
        "median_latency_ms": [round(_median_ms(said), 2) for said in zip(*pairs, strict=True)],
        "tokens_out_per_round": sum(one["tokens_out"] for one, _ in pairs[:queries]),
        "are_token_counts_equal": all(
            said["tokens_out"] == pairs[number % queries][0]["tokens_out"]
            for number, pair in enumerate(pairs)
            for said in pair
        ),
        "first_query_excluded_ms": [round(said["latency_s"] * 1e3, 1) for said in cold],
        "same_query_timed_ms": [
            round(_median_ms(said), 2) for said in zip(*pairs[::queries], strict=True)
        ],
    }


def _median_ms(said: Sequence[Any]) -> float:
    return float(statistics.median(one["latency_s"] for one in said)) * 1e3


# ---------------------------------------------------------------------- the two processes
def _train(root: Path) -> Path:
    """The adapter of a small real training."""
    script = """
import sys
from pathlib import Path
from tests.training import lab
points = list(lab.open_training(Path(sys.argv[1]), {"epochs": 6, "eval_every": 6}).points())
print(points[-1].adapter)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(root)],
        cwd=ROOT,
        env=_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(done.stdout.splitlines()[-1])


def _environment() -> dict[str, str]:
    """One core per process: threads that wait for a busy core would be measured, not the model."""
    paths = [str(ROOT / "tests"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    joined = os.pathsep.join(filter(None, paths))
    return {**os.environ, "PYTHONPATH": joined, "OMP_NUM_THREADS": "1"}


@contextmanager
def _server(root: Path, adapter: Path, queries: int) -> Iterator["subprocess.Popen[str]"]:
    """A process that has loaded the deployment and measures once per line it is sent."""
    words = [sys.executable, "-W", "ignore", __file__, "--serve", str(root), str(adapter)]
    process = subprocess.Popen(
        [*words, str(queries)],
        cwd=ROOT,
        env=_environment(),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=60)


def _ask(process: "subprocess.Popen[str]", what: str) -> Any:
    """One query by its number, or "cold" for the first query after loading."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{what}\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def serve(root: Path, adapter: Path, queries: int) -> None:
    """Load, warm up, and answer each line with one measurement."""
    from agent.log_noise import quieten_libraries

    quieten_libraries()
    from agent.evaluation import inference_benchmark, served_model
    from agent.training import data, prompts
    from tests.training import lab

    config = lab.make_config(root, epochs=6, eval_every=6)
    examples = data.load(config)
    served = served_model.serve(config, lab.BASE_MODEL, lambda: adapter, examples.train)
    chosen = inference_benchmark.choose_queries(examples.train, queries)
    encoded = [prompts.prompt_ids(served.tokenizer, e.messages) for e in chosen]
    (cold,) = inference_benchmark.time_queries(served, encoded[:1], NEW_TOKENS)
    inference_benchmark.warm_up(served, encoded, NEW_TOKENS)
    gc.freeze()  # or every query would wait for a look at all that has been loaded
    print("ready", flush=True)
    for line in sys.stdin:
        timed = cold
        if line.strip() != "cold":
            (timed,) = inference_benchmark.time_queries(served, [encoded[int(line)]], NEW_TOKENS)
        print(
            json.dumps({"latency_s": timed.latency_s, "tokens_out": timed.tokens_out}), flush=True
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--rounds", type=int, default=ROUNDS)
        parser.add_argument("--queries", type=int, default=QUERIES)
        args = parser.parse_args()
        print(json.dumps(main(args.rounds, args.queries), indent=1))
