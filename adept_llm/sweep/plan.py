"""What a sweep is to do: the arguments of all its runs, what varies, and how the best is chosen."""

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adept_llm.errors import InputError

Setting = Mapping[str, Any]
"""Argument -> value, for what varies."""

STRATEGIES = ("grid", "random", "neighbours")


@dataclass(frozen=True)
class SweepPlan:
    """A search, and the runs of what it finds.

    Attributes:
        output_dir: Holds a folder for each run, and `sweep.json`.
        search: Argument -> its values in order, of which `grid` takes all combinations, `random`
            draws and `neighbours` walks (see `sweep.search`); or for `random` {low, high}, from
            which it draws evenly by logarithm. Empty: nothing is searched.
        arguments: Of every run, as `adept-llm train` takes them; `recipe` names a file of them.
        program: train, or the path of a script that takes the same arguments and leaves run.json.
        strategy: grid, random or neighbours.
        max_settings: Most settings that are tried; all of a grid must fit.
        rungs: Steps of the search's runs: one number, or several for successive halving, where the
            best third of a rung's settings begins anew with the next one's steps (Jamieson and
            Talwalkar 2016). Empty: as long as the arguments say.
        keep: Share of a rung's settings that goes on.
        settings: Values that go together, such as sizes of one budget; a grid combines each with
            all of `search`.
        search_seeds: Of the search's runs, whose mean counts; the first one's draws are `random`'s.
        seeds: Of the chosen setting's final runs, as long as the arguments say.
        metric: Of the validation split; smaller is better for loss, else greater.
        final: Further arguments of the final runs.

    Raises:
        InputError: for what cannot be searched.
    """

    output_dir: str
    search: Mapping[str, Any] = field(default_factory=dict)
    settings: Sequence[Setting] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    program: str = "train"
    strategy: str = "grid"
    max_settings: int = 100
    rungs: Sequence[int] = ()
    keep: float = 1 / 3
    search_seeds: Sequence[int] = (0,)
    seeds: Sequence[int] = (1, 2, 3)
    metric: str = "loss"
    final: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_kinds()
        if self.strategy not in STRATEGIES:
            raise InputError(f"strategy: {self.strategy!r} is unknown; known: {STRATEGIES}")
        if self.max_settings < 1:
            raise InputError(f"max_settings: {self.max_settings} tries nothing; give 1 or more")
        if not 0 < self.keep < 1:
            raise InputError(f"keep: {self.keep} is not in (0, 1)")
        if any(type(n) is not int or n < 1 for n in self.rungs):
            raise InputError(f"rungs: {list(self.rungs)} must be numbers of steps")
        if list(self.rungs) != sorted(set(self.rungs)):
            raise InputError(f"rungs: {list(self.rungs)} must rise")
        self._check_seeds()
        if self.settings and self.strategy != "grid":
            raise InputError("settings: goes with 'strategy: grid'")
        for name, values in self.search.items():
            self._check_name(name)
            self._check_axis(name, values)
        for name in (name for one in self.settings for name in one):
            self._check_name(name)
        if self.strategy == "grid":
            size = len(self.grid())
            if size > self.max_settings:
                raise InputError(
                    f"max_settings: the grid has {size}, allowed are {self.max_settings}; "
                    "raise it, or shorten the lists of search"
                )

    def _check_kinds(self) -> None:
        kinds = {"search": Mapping, "arguments": Mapping, "final": Mapping, "rungs": Sequence}
        kinds |= {"seeds": Sequence, "search_seeds": Sequence, "settings": Sequence}
        for name, kind in kinds.items():
            value = getattr(self, name)
            if not isinstance(value, kind) or isinstance(value, str):
                what = "a mapping" if kind is Mapping else "a list"
                raise InputError(f"{name}: expected {what}, got {value!r}")
        if type(self.max_settings) is not int:
            raise InputError(f"max_settings: {self.max_settings!r} is no whole number")
        if not isinstance(self.keep, float):
            raise InputError(f"keep: {self.keep!r} is no share such as 0.5")
        if not all(isinstance(one, Mapping) for one in self.settings):
            raise InputError("settings: expected a list of mappings")
        if not isinstance(self.output_dir, str) or not self.output_dir:
            raise InputError("output_dir: give a folder for the runs")

    def _check_seeds(self) -> None:
        if both := set(self.search_seeds) & set(self.seeds):
            raise InputError(
                f"seeds: {min(both)} is the search's own, whose luck it was chosen for; give others"
            )
        for name in ("seeds", "search_seeds"):
            seeds = getattr(self, name)
            if len(set(seeds)) < len(seeds):
                raise InputError(f"{name}: {list(seeds)} holds one twice")
            if any(type(seed) is not int for seed in seeds):
                raise InputError(f"{name}: {list(seeds)} must be whole numbers")
        if not self.search_seeds:
            raise InputError("search_seeds: give one or more")

    def _check_name(self, name: str) -> None:
        """Refuse what varies and is fixed as well."""
        for group, mapping in (("arguments", self.arguments), ("final", self.final)):
            if name in mapping:
                raise InputError(f"{name}: stands in search and in {group}; take out one")
        if name in ("seed", "output_dir"):
            raise InputError(f"{name}: is the sweep's own; take it out of search")

    def _check_axis(self, name: str, values: Any) -> None:
        if isinstance(values, Mapping):
            low, high = values.get("low"), values.get("high")
            if self.strategy != "random" or set(values) != {"low", "high"}:
                raise InputError(f"{name}: {{low, high}} goes with 'strategy: random'")
            if not all(isinstance(v, int | float) for v in (low, high)) or not 0 < low < high:  # type: ignore[operator]
                raise InputError(f"{name}: needs numbers 0 < low < high")
        elif not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise InputError(f"{name}: expected a list of values, got {values!r}")
        elif len(set(map(str, values))) < len(values):
            raise InputError(f"{name}: {list(values)} holds a value twice")

    def is_searched(self) -> bool:
        """Whether there are several settings to choose from."""
        return self.strategy == "random" or len(self.grid()) > 1

    def grid(self) -> list[Setting]:
        """All combinations, the last axis fastest; one empty setting where nothing varies."""
        products = [
            dict(zip(self.search, values, strict=True))
            for values in itertools.product(*self.search.values())
        ]
        return [dict(one) | each for one in self.settings or [{}] for each in products]

    def drawn(self) -> list[Setting]:
        """Up to `max_settings` different draws by the first search seed; ranges to three digits."""
        generator = random.Random(self.search_seeds[0])

        def draw(values: Any) -> Any:
            if isinstance(values, Mapping):
                low, high = math.log(values["low"]), math.log(values["high"])
                return float(f"{math.exp(generator.uniform(low, high)):.3g}")
            return generator.choice(values)

        found: list[Setting] = []
        for _ in range(10 * self.max_settings):  # lists may have fewer combinations
            one = {name: draw(values) for name, values in self.search.items()}
            if one not in found and len(found) < self.max_settings:
                found.append(one)
        return found
