"""One thread for each process: small products gain nothing from more, and ranks share the cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
