r"""Tune a frozen Llama-2 with ADePT: what deepspeed, torchrun and Slurm start.

    python recipes/llama2_adept.py recipes/sst2.yaml --model_name_or_path DIR \
        --data_dir DIR --output_dir runs/sst2

takes the same arguments as `adept-llm train`, whose main (adept_llm/cli/train.py) is the recipe.
"""

import sys

from adept_llm.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
