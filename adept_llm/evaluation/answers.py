"""Measure a model on the examples of a task: labels by likelihood, free text by generation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adept_llm.data import Encoded, Encoder, Example, Report
from adept_llm.errors import InputError
from adept_llm.evaluation.generation import Decoding, generate
from adept_llm.evaluation.label_scoring import LabelIds, score_labels, with_end
from adept_llm.evaluation.metrics import METRICS, RUNS_CODE, compute, majority
from adept_llm.evaluation.predictions import (
    PREDICTIONS_FILE,
    Prediction,
    finite,
    write_predictions,
)
from adept_llm.evaluation.programs.sandbox import check_sandbox
from adept_llm.evaluation.ranks import collect
from adept_llm.packing import Batcher
from adept_llm.tasks import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class AnswerMeasure:
    """A `Measure`: encoded examples, a model's answers to them, and their metrics.

    An example whose context is too long is read in several windows, and the window with the most
    certain answer decides: the one whose best label is the most probable among the labels, or whose
    generated tokens are the most probable in the mean.

    Attributes:
        encoder: What the examples were encoded with.
        examples: Those that fit.
        windows: For each of them one encoded sequence or more.
        metrics: Names of the metrics, the main one first.
        report: What became of the examples.
        max_new_tokens: Most tokens of a generated answer.
        batch_size: Sequences in a batch.
        temperature: Of generation; 0 is greedy.
        allow_unsandboxed_code: Whether metrics may run programs where there is no sandbox.
    """

    encoder: Encoder
    examples: tuple[Example, ...]
    windows: tuple[list[Encoded], ...]
    metrics: tuple[str, ...]
    report: Report
    max_new_tokens: int = 32
    batch_size: int = 32
    temperature: float = 0.0
    allow_unsandboxed_code: bool = False

    @classmethod
    def of(
        cls,
        encoder: Encoder,
        examples: Sequence[Example],
        metrics: Sequence[str] = ("accuracy",),
        *,
        max_new_tokens: int = 32,
        batch_size: int = 32,
        allow_code_execution: bool = False,
        allow_unsandboxed_code: bool = False,
        samples: int = 1,
        temperature: float = 0.0,
    ) -> "AnswerMeasure":
        """Check and encode.

        Args:
            encoder: With the template and the length to read.
            examples: All labelled, with whatever words, or all free text.
            metrics: Names from `adept_llm.evaluation.metrics`.
            max_new_tokens: Most tokens of a generated answer; at most half of the encoder's length.
            batch_size: Sequences in a batch.
            allow_code_execution: Whether metrics may run generated programs.
            allow_unsandboxed_code: Whether also where there is no sandbox.
            samples: Answers to each example, for pass@k; each is a prediction of its own.
            temperature: At which they are drawn; 0 is greedy.

        Raises:
            InputError: No example fits, a metric is unknown, one would run generated code without
                permission or without a sandbox, or several samples would all be the same.
        """
        if samples < 1 or (samples > 1) != (temperature > 0):
            raise InputError(
                f"{samples} samples at temperature {temperature:g}: give several samples and a "
                "temperature above 0, or one and 0"
            )
        for name in metrics:
            if name not in METRICS:
                raise InputError(f"unknown metric {name!r}; known: {', '.join(METRICS)}")
            if name in RUNS_CODE and not allow_code_execution:
                raise InputError(
                    f"metric {name} runs programs that the model wrote; allow that by "
                    "--allow_code_execution"
                )
            if name in RUNS_CODE:
                check_sandbox(allow_unsandboxed_code)
        max_new_tokens = min(max_new_tokens, encoder.max_length // 2)
        windows, report = encoder.encode_windows(examples, max_new_tokens)
        pairs = [(one, each) for one, each in zip(examples, windows, strict=True) if each]
        kept = [pair for pair in pairs for _ in range(samples)]
        return cls(
            encoder,
            tuple(one for one, _ in kept),
            tuple(each for _, each in kept),
            tuple(metrics),
            report,
            max_new_tokens,
            batch_size,
            temperature,
            allow_unsandboxed_code,
        )

    @classmethod
    def of_task(
        cls,
        encoder: Encoder,
        task: Task,
        examples: Sequence[Example],
        batch_size: int = 32,
        allow_code_execution: bool = False,
        allow_unsandboxed_code: bool = False,
    ) -> "AnswerMeasure":
        """As `of`, with the task's metrics and answer length."""
        return cls.of(
            encoder,
            examples,
            task.metrics,
            max_new_tokens=task.max_new_tokens,
            batch_size=batch_size,
            allow_code_execution=allow_code_execution,
            allow_unsandboxed_code=allow_unsandboxed_code,
        )

    @property
    def main_metric(self) -> str:
        """The metric by which the best checkpoint is chosen."""
        return self.metrics[0]

    @property
    def greater_is_better(self) -> bool:
        """All metrics are shares or correlations."""
        return True

    def __call__(self, model: "PreTrainedModel", batcher: Batcher) -> dict[str, float]:
        """The metrics of an injected model."""
        return self.score(self.predict(model, batcher))

    at_end = __call__

    def predict(self, model: "PreTrainedModel", batcher: Batcher) -> list[Prediction]:
        """What an injected model says to each example."""
        if self.examples[0].labels:
            return self._label(model, batcher)
        return self._generate(model, batcher)

    def score(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        """The metrics of predictions, and the loss on right answers, whatever else is learnt."""
        found = self._metrics([one.text for one in predictions])
        if tokens := sum(one.target_tokens for one in predictions):
            found["loss"] = sum(one.target_loss for one in predictions) / tokens
        return found

    def baseline(self, train: Sequence[Example]) -> dict[str, float]:
        """The metrics of always saying what is most frequent in training."""
        return self._metrics(majority(train, self.examples))

    def _metrics(self, texts: Sequence[str]) -> dict[str, float]:
        return compute(self.metrics, self.examples, texts, self.allow_unsandboxed_code)

    def _label(self, model: "PreTrainedModel", batcher: Batcher) -> list[Prediction]:
        eos: int = self.encoder.tokenizer.eos_token_id
        ids: dict[tuple[str, ...], LabelIds] = {}
        for example in self.examples:
            if example.labels not in ids:
                ids[example.labels] = with_end(self.encoder.label_ids(example.labels), eos)
        flat = [window for each in self.windows for window in each]
        labels = [
            # the right answer once more, as it is trained: with EOS
            [*ids[example.labels], window.target_ids]
            for example, each in zip(self.examples, self.windows, strict=True)
            for window in each
        ]
        scores = iter(score_labels(model, batcher, flat, labels, self.batch_size))
        predictions = []
        for example, each in zip(self.examples, self.windows, strict=True):
            of_windows = [next(scores) for _ in each]
            window, best = max(
                zip(each, of_windows, strict=True),
                key=lambda one: one[1][:-1].log_softmax(0).max().item(),
            )
            *known, target = finite(best, example)
            word = example.labels[known.index(max(known))]
            tokens = len(window.target_ids)
            predictions.append(Prediction(example, word, tuple(known), -target, tokens))
        return predictions

    def _generate(self, model: "PreTrainedModel", batcher: Batcher) -> list[Prediction]:
        tokenizer: Any = self.encoder.tokenizer
        owners = [i for i, each in enumerate(self.windows) for _ in each]
        flat = [window for each in self.windows for window in each]
        best: dict[int, tuple[float, int, list[int]]] = {}
        eos = tokenizer.eos_token_id
        decoding = Decoding(self.max_new_tokens, temperature=self.temperature)
        prompts = [window.prompt_ids for window in flat]
        mine = generate(model, prompts, eos, decoding, self.batch_size)
        answers = collect({one.prompt_index: one for one in mine})
        for index, ids, certainty in answers.values():
            owner = owners[index]
            if owner not in best or certainty > best[owner][0]:
                best[owner] = (certainty, index, ids)
        order = range(len(self.examples))
        losses = self._target_losses(model, batcher, [flat[best[i][1]] for i in order])
        return [
            Prediction(
                self.examples[i],
                tokenizer.decode(best[i][2], skip_special_tokens=True).strip(),
                (),
                *losses[i],
            )
            for i in order
        ]

    def _target_losses(
        self, model: "PreTrainedModel", batcher: Batcher, windows: Sequence[Encoded]
    ) -> list[tuple[float, int]]:
        """Loss and tokens of each right answer; (0, 0) for one too long, and for drawn samples."""
        most = self.encoder.max_length
        fits = [len(one.prompt_ids) + len(one.target_ids) <= most for one in windows]
        if self.temperature or not any(fits):
            return [(0.0, 0)] * len(windows)
        measured = [one for one, fit in zip(windows, fits, strict=True) if fit]
        targets = [[one.target_ids] for one in measured]
        found = iter(score_labels(model, batcher, measured, targets, self.batch_size))
        return [
            (-finite(next(found), example)[0], len(one.target_ids)) if fit else (0.0, 0)
            for one, fit, example in zip(windows, fits, self.examples, strict=True)
        ]


@dataclass(frozen=True)
class Answered:
    """Measures answers and leaves them in a file.

    Attributes:
        measure: Of the examples.
        folder: Where `predictions.jsonl` goes; None on ranks that write nothing.
    """

    measure: AnswerMeasure
    folder: Path | None

    def __call__(self, model: "PreTrainedModel", batcher: Batcher) -> dict[str, float]:
        """The metrics of an injected model."""
        predictions = self.measure.predict(model, batcher)
        if self.folder:
            write_predictions(self.folder / PREDICTIONS_FILE, predictions)
        return self.measure.score(predictions)
