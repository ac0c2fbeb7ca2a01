"""Runs that train at once learn what each learns alone: losses, values, evaluations, failures."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from adept_llm.adapters import AdeptConfig, get_adapter, inject_adapter
from adept_llm.errors import InputError
from adept_llm.packing import losses as packed_losses
from adept_llm.packing import make_batcher, token_losses
from adept_llm.training import concurrent
from adept_llm.training.arguments import AdeptTrainingArguments
from adept_llm.training.concurrent import Company, Member
from adept_llm.training.run import run
from adept_llm.training.signals import StopOnSignal
from adept_llm.training.trainer import loss_alone
from adept_llm.training.turns import Turn, take_turns
from tests.builders import CONFIGS, make_examples, small_model

SPEEDS = ("per_second", "runtime", "memory", "flos")


@dataclass
class Given:
    """A run of its own kind."""

    method: str = "adept"
    arguments: dict[str, Any] = field(default_factory=dict)
    rows: int = 23
    config: dict[str, Any] = field(default_factory=dict)


MIXED = [
    Given(arguments={"learning_rate": 0.3, "seed": 1, "eval_strategy": "steps", "eval_steps": 2}),
    Given("dept", {"offset_learning_rate": 0.05, "max_steps": 3, "max_grad_norm": 0.1}),
    Given("prompt_tuning", {"per_device_train_batch_size": 3, "max_steps": 8, "seed": 2}, 31),
    Given("ulpt", {"gradient_accumulation_steps": 3, "per_device_train_batch_size": 2}),
    Given("embedding_lora", {"tokens_per_batch": 40, "lr_scheduler_type": "constant"}),
]


class Measured:
    """The loss of some texts, as what is evaluated."""

    main_metric, greater_is_better = "loss", False
    metrics = ()

    def __call__(self, model: Any, batcher: Any) -> dict[str, float]:
        batch = batcher(make_examples([(4, 2), (6, 3)], seed=9))
        was, _ = model.training, model.eval()
        with torch.no_grad():
            found = token_losses(model, batch["inputs"], batch["labels"]).mean().item()
        model.train(was)
        return {"loss": found}

    at_end = __call__


def trained(folder: Any, given: Given, base: Any, **more: Any) -> Any:
    """One run; its trainer."""
    settings = {
        "output_dir": str(folder), "per_device_train_batch_size": 4, "max_steps": 5, "seed": 5,
        "warmup_steps": 2, "report_to": "none", "use_cpu": True, "disable_tqdm": True,
        "save_strategy": "no", **given.arguments,
    }  # fmt: skip
    args = AdeptTrainingArguments(**settings)
    config = CONFIGS[given.method]
    model = inject_adapter(base, AdeptConfig(**{**vars(config), **given.config}))
    examples = make_examples([(3 + i % 5, 1 + i % 3) for i in range(given.rows)], seed=given.rows)
    stop = StopOnSignal(noted_only=True)
    trainer, _ = run(model, args, examples, make_batcher(model), Measured(), stop=stop, **more)
    return trainer


def together(folder: Any, several: list[Given], company: Any = None) -> tuple[list[Any], Company]:
    """All at once: what became of each, and their company."""
    company = company or Company(lambda: small_model("llama-grouped"))
    found: list[Any] = [None] * len(several)

    def turn_of(place: int, given: Given) -> Turn:
        def work(turn: Turn) -> None:
            member = Member(company, turn)
            try:
                found[place] = trained(
                    folder / str(place), given, member.load(), loss_of=member.loss_of
                )
            except (InputError, RuntimeError) as error:
                found[place] = str(error)

        return Turn(work)

    take_turns([turn_of(*one) for one in enumerate(several)], company.answer)
    return found, company


def logged(folder: Any) -> list[dict[str, float]]:
    """All numbers that have nothing to do with time."""
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [
        {k: v for k, v in line.items() if not any(part in k for part in SPEEDS)} for line in lines
    ]


def assert_alike(folder: Any, other: Any) -> None:
    expected, found = logged(other), logged(folder)
    assert [line.keys() for line in found] == [line.keys() for line in expected]
    for line, its in zip(found, expected, strict=True):
        assert line == pytest.approx(its, rel=1e-5)


def assert_same_values(one: Any, other: Any) -> None:
    values, its = (get_adapter(each.model).saved_values() for each in (one, other))
    assert values.keys() == its.keys()
    for name, value in values.items():
        torch.testing.assert_close(value, its[name], rtol=1e-4, atol=1e-5)


def test_each_learns_what_it_learns_alone(tmp_path):
    """Of other methods, sizes, rates, seeds, schedules, batches, rows and numbers of steps."""
    found, company = together(tmp_path, MIXED)
    for place, given in enumerate(MIXED):
        alone = trained(tmp_path / f"alone{place}", given, small_model("llama-grouped"))
        assert_alike(tmp_path / str(place), tmp_path / f"alone{place}")
        assert_same_values(found[place], alone)
        assert found[place].state.global_step == alone.state.global_step
        first, *_, last = (line["loss"] for line in logged(tmp_path / str(place)) if "loss" in line)
        assert abs(first - last) > 0.01, "has learnt"
    # the base is there once, and has no gradient
    trees = [company._base, company._joint, *(trainer.model for trainer in found)]
    heads = [tree.get_output_embeddings().weight for tree in trees]
    assert all(head is heads[0] for head in heads)
    own = {id(p) for each in found for p in get_adapter(each.model).trained_parameters().values()}
    frozen = [p for tree in trees for p in tree.parameters() if id(p) not in own]
    assert all(p.grad is None and not p.requires_grad for p in frozen)
    assert len({p.data_ptr() for p in frozen}) == len(list(company._base.parameters()))


@pytest.mark.parametrize("how", ["checkpointing", "many targets"])
def test_memory_is_spared_as_for_a_run_alone(tmp_path, monkeypatch, how):
    """By gradient checkpointing, and by logits of a few targets at a time."""
    more = {"gradient_checkpointing": True} if how == "checkpointing" else {}
    if how == "many targets":
        monkeypatch.setattr(packed_losses, "MOST_LOGITS", 96 * 3)
    several = [Given(m, {"max_steps": 3, **more}) for m in ("adept", "dept")]
    _, company = together(tmp_path, several)
    assert company._joint.is_gradient_checkpointing is (how == "checkpointing")
    monkeypatch.undo()
    for place, given in enumerate(several):
        given.arguments.pop("gradient_checkpointing", None)
        trained(tmp_path / "alone", given, small_model("llama-grouped"))
        assert_alike(tmp_path / str(place), tmp_path / "alone")


def test_one_that_diverges_fails_alone(tmp_path):
    """With its own line; the others learn as if it had not been there."""
    several = [
        Given("adept", {"learning_rate": 3e38, "lr_scheduler_type": "constant"}),
        Given("dept"), Given("prompt_tuning"),
    ]  # fmt: skip
    found, _ = together(tmp_path, several)
    with pytest.raises(InputError) as alone:
        trained(tmp_path / "alone", several[0], small_model("llama-grouped"))
    assert found[0] == str(alone.value) and found[0].startswith("loss: nan at step")
    for place in (1, 2):
        trained(tmp_path / f"alone{place}", several[place], small_model("llama-grouped"))
        assert_alike(tmp_path / str(place), tmp_path / f"alone{place}")


def test_who_is_left_over_computes_alone(tmp_path, monkeypatch):
    """A row of several costs a little; so does the pass in common, where there is nothing to it."""
    counts, alone = [], []
    computed = concurrent.computed_together

    def counting(model, names, asked):
        counts.append(len(asked))
        return computed(model, names, asked)

    monkeypatch.setattr(concurrent, "computed_together", counting)
    monkeypatch.setattr(
        concurrent, "loss_alone", lambda *given: alone.append(1) or loss_alone(*given)
    )
    together(tmp_path, [Given(arguments={"max_steps": n}) for n in (3, 4, 6)])
    assert counts == [3, 3, 3, 2] and len(alone) == 2


@pytest.mark.parametrize("name", ["computed_together", "joint_model"])
def test_a_full_memory_is_said_to_all(tmp_path, monkeypatch, name):
    """Also where the model of all is made, by a pass of its own."""

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(concurrent, name, full)
    found, _ = together(tmp_path, [Given(), Given("dept")])
    said = "memory: full, with 2 runs in one row; give a smaller --concurrent, or --tokens_per_bat"
    assert all(one.startswith(said) for one in found)


def test_another_error_ends_each_run_by_itself(tmp_path, monkeypatch):
    """So that each says it in its own folder, and gives the folder back."""

    def wrong(*_):
        raise RuntimeError("sizes do not match")

    monkeypatch.setattr(concurrent, "computed_together", wrong)
    found, _ = together(tmp_path, [Given(), Given("dept")])
    assert found == ["in the pass in common: sizes do not match"] * 2


def test_a_gradient_that_is_not_finite_is_told_once(tmp_path, monkeypatch, caplog):
    """Under a finite loss it ends no run, and makes each step twice the work."""
    computed = concurrent.computed_together

    def spoilt(*given):
        first, *others = computed(*given)
        slopes = [torch.full_like(one, torch.inf) for one in first.slopes]
        return [concurrent.Computed(first.total, slopes), *others]

    monkeypatch.setattr(concurrent, "computed_together", spoilt)
    with caplog.at_level("INFO", "adept_llm"):
        together(tmp_path, [Given(), Given("dept")])
    assert [one for one in caplog.messages if "computes such steps alone" in one] == [
        "a number in the row of all is not finite: each run computes such steps alone"
    ]
    trained(tmp_path / "alone", Given("dept"), small_model("llama-grouped"))
    assert_alike(tmp_path / "1", tmp_path / "alone")
