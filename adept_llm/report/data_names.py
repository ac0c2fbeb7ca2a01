"""What a report calls the data of its runs: a benchmark task, or a name for the user's own file.

Many files are called train.jsonl, and one file is given by many paths. So own data are told apart
by the fingerprint of what was learnt, and by the path where that says nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from adept_llm.report.runs import Run
from adept_llm.tasks import task_names


def data_names(runs: Sequence[Run]) -> list[str]:
    """A name for the data of each run: equal for the same data, different for different data.

    Own data have the stem of their file. Where another file has it too, or a benchmark task, the
    folder stands in front.
    """
    identities = _identities(runs)
    files: dict[str, Path] = {}
    for run, identity in zip(runs, identities, strict=True):
        if run.train_file:
            files.setdefault(identity, run.train_file)
    names = _told_apart(files, {*task_names(), *filter(None, (run.benchmark for run in runs))})
    return [
        names[identity] if run.train_file else run.task
        for run, identity in zip(runs, identities, strict=True)
    ]


def _identities(runs: Sequence[Run]) -> list[str]:
    """What tells own data apart, for each run; '' for a run on other data."""
    known: dict[Path, set[str]] = defaultdict(set)
    for run in runs:
        if run.train_file and (fingerprint := _fingerprint(run)):
            known[run.train_file].add(fingerprint)

    def identity(run: Run) -> str:
        if not run.train_file:
            return ""
        found = known[run.train_file]
        return _fingerprint(run) or (min(found) if len(found) == 1 else str(run.train_file))

    return [identity(run) for run in runs]


def _fingerprint(run: Run) -> str:
    # that of a sample differs with the seed
    sampled = run.value("arguments", "data", "max_train_samples")
    return "" if sampled else str(run.value("data", "train_fingerprint") or "")


def _told_apart(files: Mapping[str, Path], taken: Collection[str]) -> dict[str, str]:
    """Identity -> the shortest name that no other one has."""
    choices = {identity: _names(path, identity) for identity, path in files.items()}
    counts = [Counter(names) for names in zip(*choices.values(), strict=True)]
    return {
        identity: next(
            (n for n, count in zip(names, counts, strict=True) if count[n] == 1 and n not in taken),
            names[-1],
        )
        for identity, names in choices.items()
    }


def _names(path: Path, identity: str) -> tuple[str, ...]:
    """Names for a file, the shortest first; the last one is its own in any case."""
    folder = path.parent.name
    near = f"{folder}/{path.stem}" if folder else str(path)
    return path.stem, near, str(path), f"{path.stem} ({identity})"
