"""Slurm: the array job and its supervisor (compute node), submission and watching (login node).

Nothing here imports torch. What has to look at a GPU or a model is started as a process.
"""
