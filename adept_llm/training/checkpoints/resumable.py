"""A Trainer whose runs can be killed: own sampler, own checkpoints, none of the base's weights."""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from adept_llm.adapters import get_adapter
from adept_llm.adapters.saved import adapter_files, read_trained
from adept_llm.compat.deepspeed import gathered
from adept_llm.compat.trainer import HookedTrainer
from adept_llm.compat.transformers import quantization_of
from adept_llm.errors import InputError
from adept_llm.evaluation.ranks import from_all_ranks
from adept_llm.files import named, write_files
from adept_llm.record import RECORD_FILE, RunRecord
from adept_llm.training.checkpoints import state as training_state
from adept_llm.training.checkpoints.facts import check_same, facts, table_fingerprint
from adept_llm.training.checkpoints.folders import (
    PREFIX,
    checkpoints,
    find_checkpoint,
    keep_newest,
    lies_in,
    read_manifest,
    step_of,
    write_checkpoint,
)
from adept_llm.training.launch import agreed
from adept_llm.training.pieces import Pieces
from adept_llm.training.sampling import Shares, training_loader

LOG = logging.getLogger(__name__)
AUTO = "auto"
OPTIMIZER_FILE, STATE_FILE, PROGRESS_FILE = (
    "optimizer.safetensors",
    "state.pt",
    "trainer_state.json",
)
STATE = {"random", "scheduler", "rates", "max_steps", "scaler"}


class ResumableTrainer(HookedTrainer):
    """Trainer that samples, saves and resumes independently of the number of ranks.

    Attributes:
        record: Of the run so far, laid into its checkpoints; None where nobody keeps one.
        resumed_from: The checkpoint that the run went on from, or None.
    """

    record: RunRecord | None = None
    resumed_from: Path | None = None
    _facts: dict[str, Any]

    def get_train_dataloader(self) -> DataLoader[Any]:
        """This rank's micro-batches in their pieces; see `sampling`."""
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        examples: Any = self.train_dataset
        collate: Any = self.data_collator
        args: Any = self.args
        return training_loader(
            examples,
            collate,
            self.shares,
            seed,
            lambda: int(self.state.epoch or 0),
            self.args.dataloader_num_workers,
            self.args.dataloader_pin_memory,
            args.length_bucket,
            Pieces(args.tokens_per_batch, len(collate.virtual_token_ids), collate.packed),
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
        examples: Any = self.train_dataset
        adapter = get_adapter(self.model)
        with gathered(adapter.base.weight) as weight:  # all ranks take part
            table = table_fingerprint(weight)
        quantization, batch = quantization_of(self.model), self.shares.global_batch
        args: Any = self.args
        loss_on = self.record.data.loss_on if self.record else "target"
        self._facts = facts(args, adapter, table, examples, batch, quantization, loss_on)
        found = None
        if resume_from_checkpoint:
            found = agreed(lambda: self._find(str(resume_from_checkpoint)))
        self.resumed_from = Path(found) if found else None
        return super().train(found, trial, ignore_keys_for_eval)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the adapter; all ranks must call."""
        files = self._adapter_files()

        folder = Path(output_dir or str(self.args.output_dir))
        agreed(lambda: str(write_files(folder, files)))

    def catch_up(self) -> None:
        """Evaluate what was due at the checkpoint's step, and was broken off; all ranks call."""
        assert self.resumed_from is not None
        self.evaluate_at_last()
        # Trainer does so at its first batch only
        self.restore_random_state(self.resumed_from)
        self.save_checkpoint()

    def _find(self, wanted: str) -> str | None:
        """The checkpoint to resume from."""
        run = Path(str(self.args.output_dir))
        if wanted == AUTO:
            found = find_checkpoint(run, self._check_content)
            for line in found.skipped:
                LOG.info("resume: skipped %s", line)
            where = found.newest or "none, training starts at step 0"
            LOG.info("resume: newest complete checkpoint: %s", where)
            folder = found.newest
            if folder is None:
                return None
        else:
            folder = Path(wanted)
            read_manifest(folder)
            self._check_content(folder)
            if lies_in(folder, run):
                _refuse_going_back(folder)
        check_same(folder, read_manifest(folder)["facts"], self._facts)
        return str(folder)

    def _check_content(self, folder: Path) -> None:
        """Refuse files that are whole and yet no checkpoint's: forged, or of another version.

        Raises:
            InputError: naming the file.
        """
        self._read_state(folder)
        name = OPTIMIZER_FILE
        try:
            load_file(folder / name)
            name = PROGRESS_FILE
            json.loads((folder / name).read_text())
        except (OSError, ValueError, SafetensorError) as error:
            raise InputError(f"checkpoint: {folder / name} is damaged") from error

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
        for group, rate in zip(self.inner_optimizer.param_groups, self._rates(state), strict=True):
            group["lr"] = rate
        if self.loss_scaler is not None and state["scaler"]:
            self.loss_scaler.load_state_dict(state["scaler"])

    def _rates(self, state: dict[str, Any]) -> list[float]:
        """Those of the next step, by the schedule's new length where that changed."""
        scheduler = self.lr_scheduler
        assert scheduler is not None
        scheduler.load_state_dict(state["scheduler"])
        before, now = state["max_steps"], self.state.max_steps
        if before == now:
            return list(state["rates"])
        LOG.info("resume: the schedule's length changes from %d to %d steps", before, now)
        if not isinstance(scheduler, LambdaLR):
            return list(state["rates"])
        factors = [factor(scheduler.last_epoch) for factor in scheduler.lr_lambdas]
        return [
            float(rate * factor) for rate, factor in zip(scheduler.base_lrs, factors, strict=True)
        ]

    def _read_state(self, folder: Path) -> dict[str, Any]:
        """What `state.pt` holds; a pickle with anything but tensors and numbers is not run.

        Raises:
            InputError: for one that is damaged or forged.
        """
        try:
            state = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True)
            missing = STATE - state.keys()
        except Exception as error:  # whatever a forged file can bring about
            raise InputError(
                f"checkpoint: {folder / STATE_FILE} holds what no checkpoint holds"
            ) from error
        if missing:
            raise InputError(
                f"checkpoint: {folder / STATE_FILE} lacks {', '.join(sorted(missing))}"
            )
        return dict(state)

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
        generators = from_all_ranks(training_state.random_state())
        if self.state.best_global_step:
            best = run / f"{PREFIX}{self.state.best_global_step}"
            own = self.resumed_from is None or lies_in(self.resumed_from, run)
            if self.state.best_global_step == step or (own and best.is_dir()):
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
                    "max_steps": self.state.max_steps,
                    "scaler": scaler.state_dict() if scaler is not None else None,
                }
            )
            if self.record:
                files[RECORD_FILE] = self.record.to_bytes()
            files[PROGRESS_FILE] = self._progress_file()
            write_checkpoint(run, step, files, self._facts)
            kept = self.state.best_model_checkpoint
            with named(run):  # the other ranks wait for this one, or for its InputError
                keep_newest(run, self.args.save_total_limit, Path(kept) if kept else None, step)

        agreed(write)

    def _progress_file(self) -> bytes:
        """Trainer's own state, without the log of each step, which would grow for ever."""
        content = self.progress()
        content["log_history"] = [e for e in self.state.log_history if "loss" not in e]
        return (json.dumps(content, indent=2) + "\n").encode()


def _refuse_going_back(folder: Path) -> None:
    """Refuse a checkpoint that has newer ones beside it, which `auto` would take another time.

    Raises:
        InputError: naming them.
    """
    beside = checkpoints(folder.resolve().parent)
    newer = [p.name for p in beside if step_of(p) > step_of(folder.resolve())]
    if newer:
        raise InputError(
            f"resume: {folder} has newer ones beside it ({', '.join(newer)}); delete them, or give "
            "another --output_dir"
        )
