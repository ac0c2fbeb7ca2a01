r"""Tune a frozen Llama-2 with ADePT: what deepspeed, torchrun and Slurm start.

    python recipes/llama2_adept.py recipes/plainwords_sst2.yaml --model_name_or_path DIR \
        --data_dir DIR --output_dir runs/sst2

takes the same arguments as `adept-llm train`.
"""

import sys

from adept_llm.cli.main import guarded
from adept_llm.cli.train import main

if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
