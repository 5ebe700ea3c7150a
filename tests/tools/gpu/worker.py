"""One of the two workers on one card: trains a config and prints its cost.

python -m tests.tools.gpu.worker POINT.json
"""

import json
import sys
from pathlib import Path

from agent.config.run_config import RunConfig
from agent.log_noise import quieten_libraries
from agent.training import data
from agent.training.evaluation_points import Training


def main(point: Path) -> None:
    quieten_libraries()
    config = RunConfig.parse(json.loads(point.read_text()))
    *_, last = Training(config, data.load(config)).points()
    print(json.dumps(last.cost.as_json()), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
