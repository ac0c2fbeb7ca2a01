"""A Trainer whose runs can be killed: own sampler, own checkpoints, none of the base's weights."""

import dataclasses
import hashlib
import json
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
from transformers import Trainer
from transformers.trainer_callback import ExportableState

from adept_llm.adapters import get_adapter
from adept_llm.adapters.saved import adapter_files, read_trained
from adept_llm.errors import InputError
from adept_llm.files import write_files
from adept_llm.training.checkpoints import state as training_state
from adept_llm.training.checkpoints.folders import (
    PREFIX,
    find_checkpoint,
    keep_newest,
    read_manifest,
    write_checkpoint,
)
from adept_llm.training.sampling import Shares, training_loader

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


class ResumableTrainer(Trainer):
    """Trainer that samples, saves and resumes independently of the number of ranks."""

    model: Any

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
        return Shares(self._train_batch_size, accumulation, args.world_size, args.process_index)

    @property
    def engine(self) -> Any:
        """The DeepSpeed engine, or None."""
        return self.model_wrapped if self.is_deepspeed_enabled else None

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
                print(f"resume: skipped {line}", flush=True)
            where = found.newest or "none, training starts at step 0"
            print(f"resume: newest complete checkpoint: {where}", flush=True)
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

    def _prepare_for_training(
        self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: str | None
    ) -> Any:
        # the engine's own checkpoints are not written, hence not to be read either
        prepared = super()._prepare_for_training(max_steps, train_dataloader, None)
        if resume_from_checkpoint:
            self._restore(Path(resume_from_checkpoint))
        return prepared

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Leave it to `_prepare_for_training`, when the optimizer exists."""

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        states = self._read_state(Path(checkpoint))["random"]
        if len(states) == self.args.world_size:
            training_state.set_random_state(states[self.args.process_index])

    def _load_best_model(self) -> None:
        assert self.state.best_model_checkpoint is not None
        folder = Path(self.state.best_model_checkpoint)
        adapter = get_adapter(self.model)
        parameters, values = adapter.trained_parameters(), read_trained(adapter, folder)
        training_state.set_trained_values(parameters, values, folder, self.engine)

    def _restore(self, folder: Path) -> None:
        """Give back what `_save_checkpoint` took."""
        adapter = get_adapter(self.model)
        parameters, values = adapter.trained_parameters(), read_trained(adapter, folder)
        training_state.set_trained_values(parameters, values, folder, self.engine)
        moments = load_file(folder / OPTIMIZER_FILE)
        training_state.set_optimizer_state(parameters, self._inner_optimizer, moments, self.engine)
        state = self._read_state(folder)
        assert self.lr_scheduler is not None
        self.lr_scheduler.load_state_dict(state["scheduler"])
        groups = self._inner_optimizer.param_groups
        for group, rate in zip(groups, state["rates"], strict=True):
            group["lr"] = rate
        scaler = getattr(self.accelerator, "scaler", None)
        if scaler is not None and state["scaler"]:
            scaler.load_state_dict(state["scaler"])

    @property
    def _inner_optimizer(self) -> Any:
        """The optimizer under accelerate's wrapper, and under DeepSpeed's."""
        if self.engine is not None:
            return self.engine.optimizer.optimizer
        return getattr(self.optimizer, "optimizer", self.optimizer)

    def _read_state(self, folder: Path) -> dict[str, Any]:
        return torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True)

    def _adapter_files(self) -> dict[str, bytes]:
        adapter = get_adapter(self.model)
        values = training_state.trained_values(adapter.trained_parameters(), self.engine)
        return adapter_files(adapter, values)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        run, step = Path(str(self.args.output_dir)), self.state.global_step
        parameters = get_adapter(self.model).trained_parameters()
        optimizer = self._inner_optimizer
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
            scaler = getattr(self.accelerator, "scaler", None)
            files[OPTIMIZER_FILE] = to_safetensors(moments)
            files[STATE_FILE] = training_state.to_bytes(
                {
                    "random": generators,
                    "scheduler": self.lr_scheduler.state_dict(),
                    "rates": [group["lr"] for group in optimizer.param_groups],
                    "scaler": scaler.state_dict() if scaler is not None else None,
                }
            )
            files[PROGRESS_FILE] = self._progress()
            write_checkpoint(run, step, files, self._facts)
            kept = self.state.best_model_checkpoint
            keep_newest(run, self.args.save_total_limit, Path(kept) if kept else None)

        self._agree(write)

    def _progress(self) -> bytes:
        """Trainer's own state, without the log of each step, which would grow for ever."""
        states: Any = self.state.stateful_callbacks
        for callback in [*self.callback_handler.callbacks, self.control]:
            if isinstance(callback, ExportableState):
                states[type(callback).__name__] = callback.state()
        content = dataclasses.asdict(self.state)
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
