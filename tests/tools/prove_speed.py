"""The demo's grid and one of 40 points against the plain loop. `main()` returns the figures.

python -m tests.prove speed                 also writes them down; `make bench` is the same
python -m tests.prove speed.points_15       the demo's grid alone
"""

from collections.abc import Sequence

from tests.tools import bench

WORKERS = 2
PROOFS = {f"points_{count}": count for count in sorted(bench.RATES)}


def main(names: Sequence[str] = ()) -> dict[str, object]:
    return {name: bench.measure(PROOFS[name], WORKERS) for name in names or PROOFS}
