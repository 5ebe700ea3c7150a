"""Which grid points are tried and which runs are stopped early.

Strata, pruning inside the run, replay of finished curves, and proposals for the sweep server. The
only importer of optuna; nothing here imports torch.
"""
