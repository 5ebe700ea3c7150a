"""`python -m agent.cluster.job.download model|dataset NAME REVISION`: fill the cache of HF_HOME.

A process of its own, because the libraries read HF_HOME once, when they are imported.
"""

import sys
from collections.abc import Sequence


def main(words: Sequence[str]) -> int:
    kind, name, revision = words
    if kind == "model":
        from huggingface_hub import snapshot_download

        # The weights once, as safetensors; not the same again in other formats.
        snapshot_download(
            name,
            revision=revision or None,
            ignore_patterns=["*.bin", "*.pth", "*.gguf", "*.onnx", "*.h5", "*.msgpack", "*.ot"],
        )
    else:
        from datasets import load_dataset

        load_dataset(name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
