"""Two workers claim one training at the same instant, each in a process of its own."""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agent.training.lease import Observer
from agent.training.store import TrainingDirectory, point_name
from tests.training import lab

Work = Callable[[Path, str], list[tuple[str, str]]]  # (digest, who trained it) of each point
POINTS = 2


def fight(root: Path, work: Work) -> bool:
    """True when one trained everything and both ended with the same points."""
    root.mkdir(parents=True)
    start = time.monotonic() + 0.1

    def claim(name: str) -> None:
        while time.monotonic() < start:
            pass
        (root / name).write_text(json.dumps(work(root, name)))

    def both() -> None:
        pid = os.fork()
        if pid == 0:
            os._exit(lab.run_guarded(lambda: claim("b")))
        claim("a")
        assert os.waitpid(pid, 0)[1] == 0

    if lab.in_child(both) != 0:
        return False
    first, second = (json.loads((root / name).read_text()) for name in "ab")
    return bool(first == second and len({who for _, who in first}) == 1)


def stub_training(root: Path, name: str) -> list[tuple[str, str]]:
    """The store's protocol with nothing to compute."""
    directory = TrainingDirectory(root, "k")
    directory.describe({})
    observer = Observer(directory.path)
    lease = None
    parent = directory.root_digest()
    found: list[tuple[str, str]] = []

    def fill(place: Path) -> Mapping[str, Any]:
        (place / "weights").write_text(name)
        return {"step": 1, "run": name}

    while len(found) < POINTS:
        number = len(found) + 1
        point = directory.point(number, parent)
        if point is None and lease is None:
            lease = observer.try_acquire()
            if lease is None:
                time.sleep(0.002)
            continue
        if point is None and lease is not None:
            point = directory.publish(point_name(number), lease, parent, fill)
        assert point is not None
        found.append((point.digest, str(point.record["run"])))
        parent = point.digest
    if lease:
        lease.release()
    return found


def real_training(root: Path, name: str) -> list[tuple[str, str]]:
    training = lab.open_training(root, {"dataset": str(shared_data())}, run_id=name)
    return [(p.digest, p.run_id) for p in training.points()]


def shared_data() -> Path:
    """Written before the claimants start, or they would write it at the same time."""
    folder = lab.shared_counts() / "data"
    return folder if folder.exists() else lab.write_examples(folder)
