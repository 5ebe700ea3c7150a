"""`python -m agent.cluster.job.download model|dataset NAME REVISION`: fill the cache of HF_HOME.

A process of its own, because the libraries read HF_HOME once, when they are imported.
"""

import sys
from collections.abc import Sequence
from pathlib import Path


def main(words: Sequence[str]) -> int:
    kind, name, revision = words
    if kind == "model":
        from huggingface_hub import snapshot_download

        # The weights once, as safetensors; in the older format only where there is no other.
        others = ["*.pth", "*.gguf", "*.onnx", "*.h5", "*.msgpack", "*.ot"]
        for ignored in (["*.bin", *others], others):
            path = snapshot_download(name, revision=revision or None, ignore_patterns=ignored)
            if any(Path(path).glob("*.safetensors")):
                break
    else:
        from datasets import load_dataset

        from agent.training.reading.sources import hub_name

        load_dataset(*hub_name(name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
