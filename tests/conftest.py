"""Every test, and every process that it starts, computes on one core: threads that wait for each
other on cores which other tests use take many times longer than one alone.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read by torch when it is imported
