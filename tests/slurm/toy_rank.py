"""A rank without a model, for the job scripts: what they start as recipes/llama2_adept.py.

Its first start waits for a signal, then saves and ends with 75 as training does; the next one finds
the checkpoint and finishes. An argument makes it finish or break at once, or not know SIGUSR1.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

argv = sys.argv[1:]
output = Path(argv[argv.index("--output_dir") + 1])
output.mkdir(parents=True, exist_ok=True)
checkpoint = output / "checkpoint-1"
names = (
    ("RANK", "SLURM_PROCID"),
    ("LOCAL_RANK", "SLURM_LOCALID"),
    ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS"),
)
place = [int(os.environ.get(one, os.environ[other])) for one, other in names]


def save(number, frame):
    checkpoint.mkdir(exist_ok=True)
    sys.exit(75)


signal.signal(signal.SIGTERM, save)
signal.signal(signal.SIGUSR1, signal.SIG_IGN if "--deaf" in argv else save)
seen = {"argv": argv, "place": [*place, os.environ["SLURMD_NODENAME"]]}
(output / f"rank-{place[0]}.json").write_text(json.dumps(seen))
if "--break" in argv and not checkpoint.exists():
    checkpoint.mkdir()
    sys.exit(1)
if "--finish" in argv or checkpoint.exists():
    (output / "run.json").touch()
    sys.exit()
time.sleep(600)
