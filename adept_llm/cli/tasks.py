"""adept-llm tasks: what there is to train on, and what its examples look like."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adept_llm.base.loading import load_tokenizer
from adept_llm.cli.columns import print_columns
from adept_llm.cli.parsing import parse
from adept_llm.data import TEMPLATES, Encoder, Example
from adept_llm.demo import MODEL
from adept_llm.errors import InputError
from adept_llm.tasks import Task, get_task, load_split, task_names

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WORDS_SHOWN = 5


@dataclass(frozen=True)
class TasksArguments:
    """Which task to show, and how."""

    show: int = field(default=1, metadata={"help": "number of examples"})
    split: str = field(default="train", metadata={"help": "train, validation or test"})
    data_dir: str | None = field(
        default=None, metadata={"help": "folder with <split>.jsonl or .parquet; default: the hub"}
    )
    template: str = field(
        default="plain", metadata={"help": "how rows are written", "choices": TEMPLATES}
    )
    max_length: int | None = field(
        default=None, metadata={"help": "tokens of prompt and target; default: the task's"}
    )
    model_name_or_path: str = field(
        default=str(MODEL), metadata={"help": "whose tokenizer counts; default: the demo's"}
    )
    seed: int = field(default=0, metadata={"help": "of the choice of examples"})

    def __post_init__(self) -> None:
        if self.show < 1:
            raise InputError(f"show: {self.show} examples; give 1 or more")


def main(argv: Sequence[str]) -> None:
    """List all tasks, or show examples of the named one.

    Raises:
        InputError: for an unknown task, data that is missing or malformed, or a wrong argument.
    """
    if argv and not argv[0].startswith("-"):
        task = get_task(argv[0])
        (args,) = parse([TasksArguments], argv[1:], command="tasks")
        show(task, args)
        return
    parse([TasksArguments], argv, command="tasks")
    print_columns(
        ["task", "source", "train", "validation", "test", "metrics", "labels"],
        [row_of(get_task(name)) for name in task_names()],
    )


def row_of(task: Task) -> list[str]:
    """A task in the list."""
    source = "/".join(filter(None, [task.path, task.config]))
    words = list(task.labels.values())
    if len(words) > WORDS_SHOWN:
        words = [words[0], words[1], "..", words[-1]]
    named = (task.all_splits[name] for name in ("train", "validation", "test"))
    splits = (str(part) if of is task else f"{of.name} {part}" for of, part in named)
    return [
        task.name, f"{source}@{task.revision[:7]}", *splits, ", ".join(task.metrics),
        " / ".join(words) or "free text",
    ]  # fmt: skip


def show(task: Task, args: TasksArguments) -> None:
    """Print examples as a model reads them, the target between marks."""
    tokenizer = load_tokenizer(args.model_name_or_path)
    encoder = Encoder(tokenizer, args.template, args.max_length or task.max_length)
    reference = args.template == "reference"
    examples = load_split(
        task, args.split, args.data_dir, args.show, args.seed, reference=reference
    )
    for example in examples:
        print(describe(example, encoder, tokenizer), end="\n\n")


def describe(example: Example, encoder: Encoder, tokenizer: "PreTrainedTokenizerBase") -> str:
    """An example's id, lengths before and after truncation, labels, and text."""
    whole = Encoder(tokenizer, encoder.template, 2**31).encode(example)
    assert whole is not None  # nothing is too long for that
    before = len(whole.prompt_ids) + len(whole.target_ids)
    kept = encoder.encode(example)
    if kept is None:
        return (
            f"== {example.id}: {before} tokens, which do not fit max_length {encoder.max_length} "
            "even without the context: it is dropped"
        )
    after = len(kept.prompt_ids) + len(kept.target_ids)
    lines = [f"== {example.id}: {before} tokens, {after} after truncation"]
    if example.labels:
        lines.append(f"== labels: {' / '.join(example.labels)}")
    if example.answers:
        lines.append(f"== accepted: {' / '.join(filter(None, example.answers))}")
    prompt = str(tokenizer.decode(kept.prompt_ids))
    whole_text = str(tokenizer.decode(kept.prompt_ids + kept.target_ids[:-1]))
    answer = whole_text.removeprefix(prompt)
    return "\n".join([*lines, f"{prompt}>>>{answer}<<<"])
