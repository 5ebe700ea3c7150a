"""The full counts behind what is claimed of pruning: faults, load, order of arrival, savings.

    python -m tests.tools.prove_search

`main()` returns the figures; `make prove` writes them down with date and machine. About a
quarter of an hour on two idle cores.
"""

import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.config.rules import PAIRED
from agent.search.paired_test import Peer, Rule, judge
from agent.search.replay.families import UNSEEN
from tests.processes import run_python
from tests.search import postgres
from tests.search.made_curves import made_stratum
from tests.tools import pruning_frontier, pruning_table

TESTS = Path(__file__).resolve().parents[1]


def main(names: Sequence[str] = ()) -> dict[str, Any]:
    """The named figures, or all, by the claim they belong to."""
    return {name: PROOFS[name]() for name in names or PROOFS}


def journal_load() -> dict[str, Any]:
    """64 processes on one journal, a report each per 2 s, 9 rungs."""
    with tempfile.TemporaryDirectory() as name:
        journal = str(Path(name) / "load.journal")
        figures = _script("journal_load.py", journal, "64", "9", "2", name)
        return {**figures, "reports_expected": 64 * 9, "reports_read_back": _reports_in(journal)}


def postgres_load() -> dict[str, Any]:
    """The same on a real PostgreSQL, with 16 processes."""
    if reason := postgres.why_not():
        return {"skipped": reason}
    with postgres.running_server() as url, tempfile.TemporaryDirectory() as name:
        return {**_script("journal_load.py", url, "16", "9", "2", name), "reports_expected": 144}


def kill_storm() -> dict[str, Any]:
    """200 workers killed at random moments, half of their runs started again."""
    with tempfile.TemporaryDirectory() as name:
        return _script("kill_storm.py", str(Path(name) / "storm.journal"), "6", "200", "7")


def torn_journals() -> dict[str, Any]:
    """The journal cut at each of its last 200 bytes, by the test that the suite runs, too."""
    test = "tests/search/test_journal.py::test_cut_at_each_of_its_last_200_bytes"
    test += "_it_stays_readable_and_writable"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, check=False)
    return {"cuts": 200, "all_readable_and_writable": done.returncode == 0}


def arrival_orders(strata: int = 20, points: int = 6) -> dict[str, Any]:
    """Verdicts at every rung for every order of `points` runs that are all there."""
    orders, cases, differing = 0, 0, 0
    for seed in range(strata):
        stratum = made_stratum(seed, examples=80)
        chosen = stratum.curves[:points]
        for rung in range(1, stratum.rungs):
            peers = [Peer(c.point, "running", dict(enumerate(c.scores[:rung], 1))) for c in chosen]
            verdicts = set()
            for order in itertools.islice(itertools.permutations(peers), 0, None, 6):
                rule = Rule(stratum.rungs)
                figures = [judge(c.point, order, rule, points) for c in chosen]
                verdicts.add(tuple((v.prune, v.rung, v.reason) for v in figures))
                orders += 1
            differing += len(verdicts) > 1
            cases += 1
    return {"orders": orders, "cases": cases, "cases_differing": differing}


def pruning() -> dict[str, Any]:
    """Savings and losses on what the pruner was not developed on; the rows are in docs/."""
    found = pruning_frontier.main()
    pruning_table.write_into_readme()
    return pruning_figures(found)


def pruning_figures(found: Mapping[str, Any]) -> dict[str, Any]:
    """What is claimed of our rules, from what `pruning_frontier` measured."""
    shipped = {row["setting"]: row for row in found["report"] if row["warmup"] == 1}
    return {
        name: {
            **{key: value for key, value in shipped[name].items() if isinstance(value, float)},
            "equal_stopped": found["equal_runs_stopped"][name],
            "least_kept_unseen": min(shipped[name]["families"][f]["kept"] for f in UNSEEN),
            "real_share": shipped[name]["families"]["real"]["share"],
            "real_kept": shipped[name]["families"]["real"]["kept"],
        }
        for name in PAIRED
    }


def _script(name: str, *words: str) -> dict[str, Any]:
    done = run_python(f"tests/search/{name}", *words, timeout_s=3600)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def _reports_in(journal: str) -> int:
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    storage = JournalStorage(JournalFileBackend(journal))
    studies = optuna.get_all_study_names(storage)
    return sum(
        len(trial.intermediate_values)
        for name in studies
        for trial in optuna.load_study(study_name=name, storage=storage).trials
    )


PROOFS: dict[str, Callable[[], dict[str, Any]]] = {
    "journal_64_processes": journal_load,
    "journal_kills": kill_storm,
    "journal_cut_at_each_of_200_bytes": torn_journals,
    "postgresql_16_processes": postgres_load,
    "arrival_orders": arrival_orders,
    "pruning": pruning,
}

if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
