"""A Trainer whose runs can be killed: own sampler, own checkpoints, none of the base's weights."""

import hashlib
import json
import logging
from array import array
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors
from torch.utils.data import DataLoader

from adept_llm.adapters import get_adapter
from adept_llm.adapters.saved import adapter_files, read_trained
from adept_llm.compat.trainer import HookedTrainer
from adept_llm.errors import InputError
from adept_llm.files import write_files
from adept_llm.record import RECORD_FILE, RunRecord
from adept_llm.training.checkpoints import state as training_state
from adept_llm.training.checkpoints.folders import (
    PREFIX,
    find_checkpoint,
    keep_newest,
    read_manifest,
    write_checkpoint,
)
from adept_llm.training.sampling import Shares, training_loader

LOG = logging.getLogger(__name__)
AUTO = "auto"
OPTIMIZER_FILE, STATE_FILE, PROGRESS_FILE = (
    "optimizer.safetensors",
    "state.pt",
    "trainer_state.json",
)


def _fingerprint(examples: Any) -> str:
    """Short hash of encoded examples in their order."""
    digest = hashlib.sha256()
    for example in examples:
        for ids in (example.prompt_ids, example.target_ids):
            digest.update(array("q", [len(ids), *ids]).tobytes())
    return digest.hexdigest()[:12]


class ResumableTrainer(HookedTrainer):
    """Trainer that samples, saves and resumes independently of the number of ranks.

    Attributes:
        record: Of the run so far, laid into its checkpoints; None where nobody keeps one.
    """

    record: RunRecord | None = None

    def get_train_dataloader(self) -> DataLoader[Any]:
        """This rank's micro-batches; see `sampling`."""
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        examples: Any = self.train_dataset
        collate: Any = self.data_collator
        return training_loader(
            examples,
            collate,
            self.shares,
            seed,
            lambda: int(self.state.epoch or 0),
            self.args.dataloader_num_workers,
            self.args.dataloader_pin_memory,
        )

    @property
    def shares(self) -> Shares:
        """How a global batch is dealt out over ranks and accumulation steps."""
        args = self.args
        accumulation = args.gradient_accumulation_steps
        return Shares(self.micro_batch_size, accumulation, args.world_size, args.process_index)

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> Any:
        """Train; 'auto' resumes from the newest complete checkpoint, or starts afresh.

        Raises:
            InputError: for a checkpoint that is damaged or of another run.
        """
        found = None
        if resume_from_checkpoint:
            found = self._agree(lambda: self._find(str(resume_from_checkpoint)))
        return super().train(found, trial, ignore_keys_for_eval)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the adapter; all ranks must call."""
        files = self._adapter_files()

        folder = Path(output_dir or str(self.args.output_dir))
        self._agree(lambda: str(write_files(folder, files)))

    def _find(self, wanted: str) -> str | None:
        """The checkpoint to resume from."""
        run = Path(str(self.args.output_dir))
        if wanted == AUTO:
            found = find_checkpoint(run)
            for line in found.skipped:
                LOG.info("resume: skipped %s", line)
            where = found.newest or "none, training starts at step 0"
            LOG.info("resume: newest complete checkpoint: %s", where)
            folder = found.newest
        else:
            folder = Path(wanted)
        if folder is None:
            return None
        theirs, ours = read_manifest(folder)["facts"], self._facts
        for name, value in ours.items():
            if theirs.get(name) != value:
                raise InputError(
                    f"resume: {folder} was written with {name} {theirs.get(name)}, this run has "
                    f"{value}; give the same, or another --output_dir"
                )
        return str(folder)

    @cached_property  # the hash reads all examples; checkpoints may be frequent
    def _facts(self) -> dict[str, Any]:
        """What the sampler's position and the optimizer's state hang on."""
        examples: Any = self.train_dataset
        return {
            "global batch": self.shares.global_batch,
            "training examples": f"{len(examples)} ({_fingerprint(examples)})",
            "seed": self.args.seed,
            "base model": self._base_name(),
        }

    def _base_name(self) -> str:
        table = get_adapter(self.model).table
        # a folder may have been moved; its last part and the hub's revision stay
        return f"{Path(table.name_or_path or '').name}@{table.revision or ''}"

    def restore_random_state(self, folder: Path) -> None:
        """Give this rank its generators back, where as many ranks wrote the checkpoint."""
        states = self._read_state(folder)["random"]
        if len(states) == self.args.world_size:
            training_state.set_random_state(states[self.args.process_index])

    def load_best(self, folder: Path) -> None:
        """Take a checkpoint's trained values, on all ranks."""
        adapter = get_adapter(self.model)
        parameters, values = adapter.trained_parameters(), read_trained(adapter, folder)
        training_state.set_trained_values(parameters, values, folder, self.engine)

    def restore(self, folder: Path) -> None:
        """Give back what `save_checkpoint` took, but for the random number generators."""
        adapter = get_adapter(self.model)
        parameters, values = adapter.trained_parameters(), read_trained(adapter, folder)
        training_state.set_trained_values(parameters, values, folder, self.engine)
        moments = load_file(folder / OPTIMIZER_FILE)
        training_state.set_optimizer_state(parameters, self.inner_optimizer, moments, self.engine)
        state = self._read_state(folder)
        assert self.lr_scheduler is not None
        self.lr_scheduler.load_state_dict(state["scheduler"])
        groups = self.inner_optimizer.param_groups
        for group, rate in zip(groups, state["rates"], strict=True):
            group["lr"] = rate
        if self.loss_scaler is not None and state["scaler"]:
            self.loss_scaler.load_state_dict(state["scaler"])

    def _read_state(self, folder: Path) -> dict[str, Any]:
        return torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True)

    def _adapter_files(self) -> dict[str, bytes]:
        adapter = get_adapter(self.model)
        values = training_state.trained_values(adapter.trained_parameters(), self.engine)
        return adapter_files(adapter, values)

    def save_checkpoint(self) -> None:
        """Write output_dir/checkpoint-<step> and delete what exceeds the limit; all ranks call."""
        run, step = Path(str(self.args.output_dir)), self.state.global_step
        parameters = get_adapter(self.model).trained_parameters()
        optimizer = self.inner_optimizer
        # collectives: every rank takes part, one writes
        files = self._adapter_files()
        moments = training_state.optimizer_state(parameters, optimizer, self.engine)
        generators = training_state.from_all_ranks(training_state.random_state())
        if self.state.best_global_step:
            best = run / f"{PREFIX}{self.state.best_global_step}"
            if self.state.best_global_step == step or best.is_dir():
                self.state.best_model_checkpoint = str(best)

        def write() -> None:
            assert self.lr_scheduler is not None
            scaler = self.loss_scaler
            files[OPTIMIZER_FILE] = to_safetensors(moments)
            files[STATE_FILE] = training_state.to_bytes(
                {
                    "random": generators,
                    "scheduler": self.lr_scheduler.state_dict(),
                    "rates": [group["lr"] for group in optimizer.param_groups],
                    "scaler": scaler.state_dict() if scaler is not None else None,
                }
            )
            if self.record:
                files[RECORD_FILE] = self.record.to_bytes()
            files[PROGRESS_FILE] = self._progress_file()
            write_checkpoint(run, step, files, self._facts)
            kept = self.state.best_model_checkpoint
            keep_newest(run, self.args.save_total_limit, Path(kept) if kept else None)

        self._agree(write)

    def _progress_file(self) -> bytes:
        """Trainer's own state, without the log of each step, which would grow for ever."""
        content = self.progress()
        content["log_history"] = [e for e in self.state.log_history if "loss" not in e]
        return (json.dumps(content, indent=2) + "\n").encode()

    def _agree(self, act: Callable[[], Any]) -> Any:
        """Let rank 0 act and all ranks have its result, or its InputError; nobody runs ahead."""
        outcome: list[Any] = [None, None]
        if self.args.process_index == 0:
            try:
                outcome[0] = act()
            except InputError as error:
                outcome[1] = str(error)
        if dist.is_initialized():
            dist.broadcast_object_list(outcome, src=0)
        if outcome[1] is not None:
            raise InputError(outcome[1])
        return outcome[0]
