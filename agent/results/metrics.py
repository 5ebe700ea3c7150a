"""The study's metrics: which key holds which measured value.

Pure functions from an evaluation point and its scores to logged values; keys and units are those
of the README's table. A value that was not measured is None and is left out, never 0.
"""

from collections.abc import Mapping

_SHOWN_BESIDE = ("final/", "best/", "test/")
_SHOWN_COSTS = (
    "train/peak_vram_gb",
    "train/epoch_time_min",
    "train/total_training_flops_tflops",
    "training/key",
    "base/digest",
    "data/digest",
    "evaluation/digest",
)


def gib(gigabytes: float | None) -> float | None:
    """GiB (2^30 bytes) of GB (10^9 bytes). Keys that end in `_gb` hold 10^9 everywhere; the card's
    own tools count in 2^30, so `_gib` stands beside the three that people compare with them."""
    return None if gigabytes is None else gigabytes * 1e9 / 2**30


def beside_inference(summary: Mapping[str, object]) -> dict[str, object]:
    """What of a training run's summary stands on its inference run too, so that a chart has both
    axes. What was spent stays with the training run: it is summed over runs."""
    return {
        name: value
        for name, value in summary.items()
        if isinstance(value, str | int | float)
        and (name.startswith(_SHOWN_BESIDE) or name in _SHOWN_COSTS)
    }


def inference_update(
    summary: Mapping[str, object],
    measured: Mapping[str, object],
    *,
    setup_key: str,
    is_reference: bool = False,
) -> dict[str, object]:
    """What a training run's `summary` takes from a measurement; None takes a key out.

    The plain `inference/` keys belong to one type of GPU, the one measured first unless a later
    one is named the reference. Every other row is kept under `inference_on_<setup key>/`: those
    of other GPUs, and those of the same GPU under another driver or other libraries.
    """
    holder, held_key = summary.get("inference/gpu"), summary.get("inference/setup_key")
    row = {**measured, "inference/setup_key": setup_key}
    if holder not in (None, measured["inference/gpu"]) and not is_reference:
        return _under(setup_key, row)
    old = {n: v for n, v in summary.items() if n.startswith("inference/")}
    displaced = _under(str(held_key), old) if held_key not in (None, setup_key) else {}
    return {**dict.fromkeys(old), **displaced, **row}


def _under(setup_key: str, row: Mapping[str, object]) -> dict[str, object]:
    return {f"inference_on_{setup_key}/{n.partition('/')[2]}": v for n, v in row.items()}
