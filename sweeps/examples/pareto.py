"""What Optuna proposes for the sweep pareto.yaml beside this file (its `scheduler` block).

To make another such sweep, copy both files under a new name.
"""

from pathlib import Path

from agent.search.conditional_space import conditional_space, study_of_sweep

search_space = conditional_space(Path(__file__).with_suffix(".yaml"))
study = study_of_sweep
