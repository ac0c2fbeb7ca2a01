"""The benchmarks' own metrics, each a function of examples and predicted texts.

    metric(examples, predictions) -> a share or a correlation, 1.0 at best

A prediction is one of the example's label words, or a generated text.
"""

import re
import string
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from adept_llm.data import Example
from adept_llm.errors import InputError
from adept_llm.evaluation.programs.check import passes
from adept_llm.evaluation.stated_number import stated_number

Metric = Callable[[Sequence[Example], Sequence[str]], float]

ARTICLES = re.compile(r"\b(a|an|the)\b")
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def accuracy(examples: Sequence[Example], predictions: Sequence[str]) -> float:
    """Share of predictions that are the target."""
    hits = sum(p == e.target for e, p in zip(examples, predictions, strict=True))
    return hits / len(examples)


def matthews(examples: Sequence[Example], predictions: Sequence[str]) -> float:
    """Matthews' correlation of the labels (CoLA); 0 for a constant prediction."""
    from sklearn.metrics import matthews_corrcoef

    gold, predicted = _label_indices(examples, predictions)
    if len(set(gold)) < 2 or len(set(predicted)) < 2:
        return 0.0
    return float(matthews_corrcoef(gold, predicted))


def f1(examples: Sequence[Example], predictions: Sequence[str]) -> float:
    """F1 of the second label (MRPC, QQP; over all answers of MultiRC it is F1a)."""
    from sklearn.metrics import f1_score

    return float(f1_score(*_label_indices(examples, predictions), zero_division=0.0))


def macro_f1(examples: Sequence[Example], predictions: Sequence[str]) -> float:
    """Mean of the F1 of each label that is there or is predicted (CB, as SuperGLUE has it)."""
    from sklearn.metrics import f1_score

    gold, predicted = _label_indices(examples, predictions)
    return float(f1_score(gold, predicted, average="macro", zero_division=0.0))


def grouped_exact_match(examples: Sequence[Example], predictions: Sequence[str]) -> float:
    """Share of groups with every prediction right (MultiRC: of questions with all answers)."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for example, prediction in zip(examples, predictions, strict=True):
        groups[example.group].append(prediction == example.target)
    return sum(map(all, groups.values())) / len(groups)


def pearson(examples: Sequence[Example], predictions: Sequence[str]) -> float:
    """Pearson's correlation with the exact scores (STS-B); 0 for a constant prediction."""
    from scipy.stats import pearsonr

    return _correlation(pearsonr, examples, predictions)


def spearman(examples: Sequence[Example], predictions: Sequence[str]) -> float:
    """Spearman's rank correlation with the exact scores; 0 for a constant prediction."""
    from scipy.stats import spearmanr

    return _correlation(spearmanr, examples, predictions)


def exact_match(examples: Sequence[Example], predictions: Sequence[str]) -> float:
    """SQuAD's exact match: equal to one of the answers, but for case, articles, punctuation."""
    return _best_of_answers(_same, examples, predictions)


def token_f1(examples: Sequence[Example], predictions: Sequence[str]) -> float:
    """F1 of the words as in SQuAD 1.1 and MRQA, with the answer that gives the most."""
    return _best_of_answers(_shared_words, examples, predictions)


def final_number(examples: Sequence[Example], predictions: Sequence[str]) -> float:
    """Share with the right number (GSM8K): that behind '####', else the last one."""
    hits = [
        (number := last_number(p)) is not None and number == last_number(e.target)
        for e, p in zip(examples, predictions, strict=True)
    ]
    return sum(hits) / len(hits)


@dataclass(frozen=True)
class PassAt:
    """The metric pass@k: chance that one of k programs passes all tests (MBPP). Runs programs.

    Several predictions for one example, told by its id, are its samples.

    Attributes:
        k: How many programs one may try.
    """

    k: int

    def __call__(
        self,
        examples: Sequence[Example],
        predictions: Sequence[str],
        allow_unsandboxed_code: bool = False,
    ) -> float:
        """Run the programs.

        Args:
            examples: With their tests as answers.
            predictions: A program each.
            allow_unsandboxed_code: Whether to run them where there is no sandbox.

        Raises:
            InputError: An example has fewer than k, or there is no sandbox.
        """
        programs = [(p, e.answers) for e, p in zip(examples, predictions, strict=True)]
        passed: dict[str, list[bool]] = defaultdict(list)
        for example, right in zip(examples, passes(programs, allow_unsandboxed_code), strict=True):
            passed[example.id].append(right)
        fewest = min(map(len, passed.values()))
        if fewest < self.k:
            raise InputError(f"pass@{self.k} needs {self.k} samples of each program, not {fewest}")
        chances = [pass_at_k(len(one), sum(one), self.k) for one in passed.values()]
        return sum(chances) / len(chances)


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "matthews": matthews,
    "f1": f1,
    "f1a": f1,
    "macro_f1": macro_f1,
    "grouped_exact_match": grouped_exact_match,
    "pearson": pearson,
    "spearman": spearman,
    "exact_match": exact_match,
    "token_f1": token_f1,
    "final_number": final_number,
    "stated_number": stated_number,
    "pass@1": PassAt(1),
    "pass@10": PassAt(10),
}
RUNS_CODE = frozenset(name for name, metric in METRICS.items() if isinstance(metric, PassAt))


def compute(
    names: Sequence[str],
    examples: Sequence[Example],
    predictions: Sequence[str],
    allow_unsandboxed_code: bool = False,
) -> dict[str, float]:
    """All metrics of a task.

    Args:
        names: Of the metrics.
        examples: At least one.
        predictions: One per example.
        allow_unsandboxed_code: Whether metrics may run programs where there is no sandbox.

    Raises:
        InputError: A metric is unknown, or runs programs and finds no sandbox.
    """
    unknown = sorted(set(names) - METRICS.keys())
    if unknown:
        raise InputError(f"unknown metric {unknown[0]!r}; known: {', '.join(METRICS)}")
    found = {}
    for name in names:
        metric = METRICS[name]
        if isinstance(metric, PassAt):
            found[name] = metric(examples, predictions, allow_unsandboxed_code)
        else:
            found[name] = metric(examples, predictions)
    return found


def majority(train: Sequence[Example], examples: Sequence[Example]) -> list[str]:
    """What one would predict without reading: the most frequent label or text of training.

    Args:
        train: The training examples.
        examples: Those to predict.

    Returns:
        One prediction per example; where label words differ from row to row, the place counts.
    """
    if train[0].labels:
        places = Counter(one.labels.index(one.target) for one in train)
        (place, _), *_ = places.most_common(1)
        return [one.labels[place] for one in examples]
    (text, _), *_ = Counter(one.target for one in train).most_common(1)
    return [text] * len(examples)


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Chance that one of k programs passes, estimated from more of them (Chen et al., 2021).

    Args:
        samples: Programs written for one problem, at least k.
        passed: How many of them pass.
        k: How many one may try.
    """
    if samples - passed < k:
        return 1.0
    chance = 1.0
    for n in range(samples - passed + 1, samples + 1):
        chance *= 1 - k / n
    return 1 - chance


def last_number(text: str) -> Decimal | None:
    """The number behind the last '####', else the last number; None if there is none."""
    _, marked, behind = text.rpartition("####")
    found = NUMBER.findall(behind)
    if not found:
        return None
    try:
        return Decimal((found[0] if marked else found[-1]).replace(",", ""))
    except InvalidOperation:
        return None


def normalize(text: str) -> str:
    """SQuAD's normal form: no case, punctuation, articles or extra white space."""
    bare = "".join(one for one in text.lower() if one not in string.punctuation)
    return " ".join(ARTICLES.sub(" ", bare).split())


def _label_indices(
    examples: Sequence[Example], predictions: Sequence[str]
) -> tuple[list[int], list[int]]:
    pairs = list(zip(examples, predictions, strict=True))
    return [e.labels.index(e.target) for e, _ in pairs], [e.labels.index(p) for e, p in pairs]


def _correlation(
    function: Callable[..., tuple[float, float]],
    examples: Sequence[Example],
    predictions: Sequence[str],
) -> float:
    gold = [float(example.answers[0]) for example in examples]
    predicted = [float(prediction) for prediction in predictions]
    if len(set(gold)) < 2 or len(set(predicted)) < 2:
        return 0.0
    return float(function(gold, predicted)[0])


def _best_of_answers(
    score: Callable[[str, str], float], examples: Sequence[Example], predictions: Sequence[str]
) -> float:
    best = [
        max(score(normalize(p), normalize(answer)) for answer in e.answers or (e.target,))
        for e, p in zip(examples, predictions, strict=True)
    ]
    return sum(best) / len(best)


def _same(prediction: str, answer: str) -> float:
    return float(prediction == answer)


def _shared_words(prediction: str, answer: str) -> float:
    ours, theirs = prediction.split(), answer.split()
    shared = sum((Counter(ours) & Counter(theirs)).values())
    # two empty texts share no word: 0 in SQuAD 1.1, whose script MRQA takes, and 1 only in 2.0
    return 2 * shared / (len(ours) + len(theirs)) if shared else 0.0
