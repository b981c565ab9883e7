"""Of several test processes at once (`pytest -n auto`), each computes on one thread: there are as many as cores."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is imported, which reads it once; the processes that tests start inherit it.
    os.environ["OMP_NUM_THREADS"] = "1"
