"""Sizes of trainings that a worker writes to meanwhile."""

import threading
from pathlib import Path

from agent.training.store_gc import size_of


def test_the_size_counts_files_that_stay_while_others_are_renamed(tmp_path: Path) -> None:
    (tmp_path / "eval-0001").mkdir()
    (tmp_path / "eval-0001" / "adapter").write_bytes(b"x" * 1000)
    is_over = threading.Event()

    def beat() -> None:
        number = 0
        while not is_over.is_set():
            lease = tmp_path / "lease"
            lease.mkdir(exist_ok=True)
            (lease / f".beat.{number}").touch()
            (lease / f".beat.{number}").rename(lease / "beat")
            (lease / "beat").unlink()
            lease.rmdir()
            number += 1

    worker = threading.Thread(target=beat)
    worker.start()
    try:
        sizes = {size_of(tmp_path) for _ in range(2000)}
    finally:
        is_over.set()
        worker.join()
    assert sizes == {1000}
    assert size_of(tmp_path / "eval-0001" / "adapter") == 1000
    assert size_of(tmp_path / "nowhere") == 0
