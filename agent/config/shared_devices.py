"""How many agents share a GPU: set by what starts them, read by what measures them."""

from collections.abc import Mapping

AGENTS_PER_GPU = "SWEEP_AGENT_AGENTS_PER_GPU"


def agents_on_device(environment: Mapping[str, str]) -> int:
    """Agents on each GPU of a process with this environment, its own included; 1 when not said."""
    word = environment.get(AGENTS_PER_GPU, "")
    return int(word) if word.isdigit() and int(word) > 0 else 1
