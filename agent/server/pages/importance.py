"""Which parameters of a sweep matter: asked of `agent.search.importance` in a process of its own,
because the server stays small and Optuna is not."""

import json
import logging
import subprocess
import sys
from functools import lru_cache
from typing import Any

from agent.config.objective import number_of
from agent.search.importance import FEWEST_RUNS
from agent.server.pages.metrics import heading_of

log = logging.getLogger("sweep_agent.server")
LONGEST_S = 60.0
WORDS = (
    "PED-ANOVA (Optuna): how differently the best tenth of the runs (of few up to half) is spread "
    "over a parameter's values than all runs are. Shares of 1; few runs make them rough."
)


def importance_payload(shown: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a sweep (as `sweep_payload` shows it) by importance, or why there are
    none."""
    columns = {c["key"]: c for c in shown["columns"]}
    metric, total = shown["metric"], shown["total"]

    def values_of(key: str) -> list[Any]:
        column = columns.get(key, {})
        return list(column.get("values") or [column.get("constant")] * total)

    scores = values_of(metric) if metric else []
    keys = [key for key in shown["keys"] if key in columns]
    parameters = {key: values_of(key) for key in keys}
    known = [i for i, score in enumerate(scores) if number_of(score) is not None]
    if len(known) < FEWEST_RUNS:
        return {"problem": f"Needs at least {FEWEST_RUNS} runs with {heading_of(metric or '')}."}
    points = [
        {key: value for key in keys if (value := parameters[key][i]) is not None} for i in known
    ]
    goal = "maximize" if shown["better"] == "higher" else "minimize"
    request = {"points": points, "values": [scores[i] for i in known], "goal": goal}
    found = _ask(json.dumps(request, sort_keys=True))
    if found is None:
        return {"problem": "The importances could not be worked out; the server's log says why."}
    if not found:
        return {"problem": "Nothing differs between the runs that have a score."}
    return {
        "words": f"{len(known)} runs. {WORDS}",
        "parameters": [{"key": key, "importance": share} for key, share in found],
    }


@lru_cache(maxsize=64)
def _ask(request: str) -> tuple[tuple[str, float], ...] | None:
    """The same runs have the same answer."""
    program = [sys.executable, "-m", "agent.search.importance"]
    try:
        answer = subprocess.run(
            program, input=request, capture_output=True, text=True, timeout=LONGEST_S, check=True
        )
        return tuple(json.loads(answer.stdout).items())
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        log.warning("importances of a sweep: %s %s", error, getattr(error, "stderr", ""))
        return None
