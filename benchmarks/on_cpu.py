"""Keep a benchmark of CPUs off the GPUs: bases would be loaded there, and its figures be theirs."""

import os
import sys

import torch


def hide_gpus() -> None:
    """From this process and those that it starts; call it first.

    Raises:
        SystemExit: where CUDA was begun before, which reads the variable once.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if torch.cuda.is_available():
        sys.exit("this measures CPUs; put CUDA_VISIBLE_DEVICES= in front of the command")
