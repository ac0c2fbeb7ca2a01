"""adept-llm train --dry_run: what a run does before it reads weights, and what it would do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean

from adept_llm.adapters import AdeptConfig
from adept_llm.data import Encoded
from adept_llm.training.arguments import AdeptTrainingArguments
from adept_llm.training.plan import Plan
from adept_llm.training.sampling import Shares


@dataclass(frozen=True)
class DryRunArguments:
    """Whether to stop there."""

    dry_run: bool = field(
        default=False,
        metadata={"help": "tokenise the rows, tell the steps, leave output_dir alone"},
    )


def plan_of(
    args: AdeptTrainingArguments, config: AdeptConfig, train: Sequence[Encoded], steps: int
) -> Plan:
    """The plan of a run with these arguments.

    Args:
        args: of the training.
        config: the adapter, for the number of virtual tokens.
        train: encoded rows.
        steps: of the run.
    """
    shares = Shares(
        args.train_batch_size, args.gradient_accumulation_steps, max(args.world_size, 1)
    )
    seed = args.seed if args.data_seed is None else args.data_seed
    return Plan.of(
        train, shares, steps, config.num_virtual_tokens, seed, args.length_bucket,
        args.tokens_per_batch,
    )  # fmt: skip


def plan_rows(
    plan: Plan, why_padded: str | None, max_length: int, most: int | None = None
) -> list[list[str]]:
    """The plan as rows of a table.

    Args:
        plan: of the run.
        why_padded: why its rows are padded, or None where they are packed.
        max_length: of the run.
        most: tokens that are computed at a time, or None for whole micro-batches.
    """
    lengths = ", ".join(f"{share} %: {plan.percentile(share)}" for share in (5, 50, 95))
    used = "padded" if why_padded else "packed"
    largest = plan.largest.padded if why_padded else plan.largest.packed
    return [
        ["rows to train on", f"{len(plan.lengths):,}"],
        ["tokens of a row", f"{lengths}, longest: {plan.lengths[-1]} of {max_length}"],
        ["steps", f"{plan.steps:,} of {plan.rows_a_step} rows, {plan.epoch:,} a pass"],
        ["tokens of a step, packed", f"{plan.tokens(packed=True):,.0f} on average"],
        ["tokens of a step, padded", f"{plan.tokens(packed=False):,.0f} on average"],
        [
            "saved by packing",
            f"{plan.saved:.0%}" + (f", not here: {why_padded}" if why_padded else ""),
        ],
        *(
            [
                ["largest piece", f"{largest:,} tokens, {used}, of {most:,} allowed"],
                ["pieces of a micro-batch", _told(plan.number_of_pieces(not why_padded))],
            ]
            if most
            else [["largest micro-batch", f"{largest:,} tokens, {used}"]]
        ),
    ]


def _told(numbers: Sequence[int]) -> str:
    return f"{mean(numbers):.2f} on average, at most {max(numbers)}"
