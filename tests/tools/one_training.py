"""One grid point through this project's training and validation, alone: what `plain_loop` is
compared with in tokens and examples a second.

    python -m tests.tools.one_training POINT.json OUT.json
"""

import json
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

from agent.config.run_config import RunConfig
from agent.evaluation import validation
from agent.log_noise import quieten_libraries
from agent.training import data
from agent.training.evaluation_points import Training


def main(words: Sequence[str]) -> int:
    config = RunConfig.parse(json.loads(Path(words[0]).read_text()))
    training = Training(config, data.load(config))
    examples, seconds = 0, 0.0
    for point in training.points():
        scores = validation.score_point(training, point)
        examples += len(scores.predictions)
        seconds += scores.seconds
    cost = point.cost
    found = {
        "tokens_per_s": cost.tokens / cost.train_seconds,
        "validation_examples_per_s": examples / seconds,
        "peak_rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }
    Path(words[1]).write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    quieten_libraries()
    sys.exit(main(sys.argv[1:]))
