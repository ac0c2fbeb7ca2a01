"""Benchmarks of CPUs see no GPU, whatever the machine has."""

import importlib.metadata
import json
import os
import sys
from importlib import import_module

import pytest
import torch

from benchmarks import facts, on_cpu

MEASURE_CPUS = (
    "attention_parts concurrent concurrent_sweep evaluation long_targets many_adapters memory "
    "scaling.__main__ startup step_profile throughput whole_run"
).split()


class Hidden(Exception):
    """In the place of what follows."""


@pytest.mark.parametrize("name", MEASURE_CPUS)
def test_gpus_are_hidden_before_anything_else(name, monkeypatch):
    def hide():
        raise Hidden

    monkeypatch.setattr(sys, "argv", [name])
    module = import_module(f"benchmarks.{name}")
    monkeypatch.setattr(module, "hide_gpus", hide)
    with pytest.raises(Hidden):
        module.main()


def test_hidden_from_children_or_refused(monkeypatch):
    """CUDA reads the variable once; one that was begun already would not notice."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    on_cpu.hide_gpus()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(SystemExit, match="put CUDA_VISIBLE_DEVICES= in front of the command"):
        on_cpu.hide_gpus()


def test_facts_without_peft(monkeypatch):
    """It is needed to be compared with alone."""
    version = importlib.metadata.version

    def without(name):
        if name == "peft":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    assert "peft" in facts.facts()["versions"]
    monkeypatch.setattr(importlib.metadata, "version", without)
    found = facts.facts()
    assert "peft" not in found["versions"] and "torch" in found["versions"]
    json.dumps(found)
