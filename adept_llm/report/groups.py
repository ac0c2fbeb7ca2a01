"""Runs that differ by their seeds alone are one group; of a method's groups one is chosen."""

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from adept_llm.adapters.methods import METHODS
from adept_llm.report.data_names import data_names
from adept_llm.report.runs import Run
from adept_llm.tasks import get_task, task_names

LOSS = "loss"
# what runs of one group may differ in: the seeds, where they lie, and how they told of themselves
OWN = frozenset({
    "seed", "data_seed", "init_seed", "output_dir", "logging_dir", "run_name", "report_to",
    "disable_tqdm", "overwrite_output_dir", "resume_from_checkpoint", "train_fingerprint",
    "validation_fingerprint", "train_rows", "validation_rows",
    "form",  # which the rows have, and earlier versions did not write down
})  # fmt: skip
RATES = ("learning_rate", "offset_learning_rate")


@dataclass(frozen=True)
class Spread:
    """Numbers of several seeds.

    Attributes:
        values: At least one.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Their mean."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """Their standard deviation as a sample (n - 1); None of a single number."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


def spread(values: Iterable[float | None]) -> Spread | None:
    """What is known of some values; None where nothing is."""
    known = tuple(value for value in values if value is not None)
    return Spread(known) if known else None


@dataclass(frozen=True)
class Setting:
    """What methods are compared on: a task with its base.

    Attributes:
        base: Its name or folder.
        task: As `data_names` calls the data.
    """

    base: str
    task: str


@dataclass(frozen=True)
class Group:
    """Runs that are equal but for their seeds.

    Attributes:
        method: Of all of them.
        setting: Likewise.
        runs: At least one.
    """

    method: str
    setting: Setting
    runs: tuple[Run, ...]

    def spread(self, of: Callable[[Run], float | None]) -> Spread | None:
        """A number of each run, where it is known."""
        return spread(map(of, self.runs))

    def result(self, name: str) -> Spread | None:
        """A number among the runs' results."""
        return self.spread(lambda run: run.number("results", name))

    def metric(self, name: str, split: str) -> Spread | None:
        """A metric on a split, 'test' or 'validation'."""
        return self.spread(lambda run: getattr(run, split).get(name))

    def rate(self, name: str) -> float | None:
        """One of `RATES`; None where the method has no use for it, though each run records both."""
        offset = self.method in METHODS and METHODS[self.method].offset.default_size is not None
        unused = name == RATES[1] and not offset
        if unused or self.runs[0].number("results", "trained_parameters") == 0:
            return None
        return self.runs[0].number("arguments", "training", name)

    @cached_property
    def key(self) -> str:
        """What its runs have in common, as text."""
        return key_of(self.runs[0])

    @cached_property
    def key_but_rates(self) -> str:
        """The same without the rates: equal for the points of one grid."""
        return key_of(self.runs[0], OWN.union(RATES))


def key_of(run: Run, left_out: frozenset[str] = OWN) -> str:
    """The run's choices as text."""
    data = run.value("data")
    if isinstance(data, dict):
        data = {**data, "labels": None}  # label words may differ with the sample
    content = [run.method, run.value("base"), run.value("adapter"), data, run.value("arguments")]
    return json.dumps(_without(content, left_out), sort_keys=True, default=str)


def _without(value: Any, names: frozenset[str]) -> Any:
    """A value without these names, and without what is None: earlier versions had fewer names."""
    if isinstance(value, dict):
        kept = {name: one for name, one in value.items() if name not in names and one is not None}
        return {name: _without(one, names) for name, one in kept.items()}
    return [_without(one, names) for one in value] if isinstance(value, list) else value


def group_runs(runs: Iterable[Run]) -> list[Group]:
    """All groups, in the order of their first runs."""
    runs = list(runs)
    found: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run, task in zip(runs, data_names(runs), strict=True):
        found[task, key_of(run)].append(run)
    return [
        Group(first[0].method, Setting(first[0].base, task), tuple(first))
        for (task, _), first in found.items()
    ]


def main_metric(groups: Sequence[Group]) -> str:
    """The metric of the groups of one setting: the first of the task's that they have.

    Own data have the first that was measured beside the loss. The loss stands for them where
    nothing else was measured.
    """
    seen = [name for g in groups for run in g.runs for name in (*run.test, *run.validation)]
    benchmark = groups[0].runs[0].benchmark
    if benchmark and benchmark in task_names():
        wanted = get_task(benchmark).metrics
    else:
        wanted = tuple(name for name in seen if name != LOSS)
    return next((name for name in wanted if name in seen), LOSS)


@dataclass(frozen=True)
class Choice:
    """What was taken for a method in a setting.

    Attributes:
        group: The one taken.
        search: The others.
        by: The validation number that decided, or '' where there was nothing to decide or no
            number to do it by.
    """

    group: Group
    search: tuple[Group, ...] = ()
    by: str = ""


def choose(groups: Sequence[Group], metric: str) -> Choice:
    """The group with the lowest validation loss, over the seeds that all of them have.

    Where some have answered the test split, a search has chosen them before: the others, which may
    be shorter, are its runs.

    A grid is often searched with one seed, and its best point repeated with others. Means over all
    seeds would then compare different seeds, and the choice could flip by adding some. Where the
    groups share no seeds, means are taken over all. Groups without a validation loss stand back
    behind those that have one; where none has, the metric decides. The test split never does.

    Args:
        groups: Of one method in one setting, at least one.
        metric: The setting's main metric.
    """
    if len(groups) == 1:
        return Choice(groups[0])
    final = [group for group in groups if any(run.test for run in group.runs)] or groups
    for name, sign in ((LOSS, 1), (metric, -1)):
        known = [group for group in final if group.metric(name, "validation")]
        if known:
            means = shared_means(known, name)
            best = min(range(len(known)), key=lambda i: sign * means[i])
            rest = tuple(group for group in groups if group is not known[best])
            return Choice(known[best], rest, name)
    rest = tuple(group for group in groups if group is not final[0])
    return Choice(final[0], rest)


def shared_means(groups: Sequence[Group], name: str) -> list[float]:
    """Mean of a validation number for each group, over the seeds that all groups have if any."""
    measured = [
        [(run.seeds, run.validation[name]) for run in group.runs if name in run.validation]
        for group in groups
    ]
    shared = set.intersection(*({seeds for seeds, _ in one} for one in measured))
    return [
        statistics.fmean(value for seeds, value in one if not shared or seeds in shared)
        for one in measured
    ]


@dataclass(frozen=True)
class Comparison:
    """All groups of a report, ordered.

    Attributes:
        settings: Setting -> its main metric, in the order of the runs.
        methods: Names: those of others in the order of the runs, then this package's own.
        choices: Method and setting -> what was taken, by setting.
    """

    settings: dict[Setting, str]
    methods: tuple[str, ...]
    choices: dict[tuple[str, Setting], Choice]

    @classmethod
    def of(cls, runs: Iterable[Run]) -> "Comparison":
        """Group and choose."""
        groups = group_runs(runs)
        settings = {
            setting: main_metric([g for g in groups if g.setting == setting])
            for setting in dict.fromkeys(group.setting for group in groups)
        }
        together: dict[tuple[str, Setting], list[Group]] = defaultdict(list)
        for group in groups:
            together[group.method, group.setting].append(group)
        names = dict.fromkeys(group.method for group in groups)
        # what is compared against comes first, as in the papers' tables
        methods = sorted(names, key=lambda name: [*METHODS].index(name) if name in METHODS else -1)
        choices = {
            (method, setting): choose(together[method, setting], metric)
            for setting, metric in settings.items()
            for method in methods
            if (method, setting) in together
        }
        return cls(settings, tuple(methods), choices)

    def chosen(self, setting: Setting) -> dict[str, Group]:
        """Method -> the group taken for it, of those that ran in a setting."""
        found = ((method, self.choices.get((method, setting))) for method in self.methods)
        return {method: choice.group for method, choice in found if choice}

    def name(self, setting: Setting) -> str:
        """The task, and the base where there are several."""
        several = len({one.base for one in self.settings}) > 1
        short = setting.base.rstrip("/").rsplit("/", 1)[-1]
        return f"{setting.task} · {short}" if several else setting.task
