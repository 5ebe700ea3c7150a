"""Keep a worker's log to what a user can act on. Call before the heavy imports."""

import logging
import os
import warnings


def quieten_libraries() -> None:
    """LLM.int8 logs at every call that it casts its input (that is how it works), bitsandbytes
    names an optional CPU kernel that it does without, transformers draws a bar for every load,
    and PEFT still uses a name that transformers has deprecated."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*deprecated")
    warnings.filterwarnings("ignore", message=".*torch.jit.script_method.*deprecated")
