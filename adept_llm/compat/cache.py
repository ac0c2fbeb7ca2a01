"""The cache of a model's call: `past_key_values`, since transformers 5.24 `cache`.

Read in transformers 5.23.0 and 5.24.0. Newer ones take the older name too, with a warning, but
`generate` calls a model by the newer one: where it is not known, P is put in front of each new
word. Adapters know torch alone, so both names are looked for; `transformers.cache_argument` tells
which one this version writes.
"""

from collections.abc import Mapping
from typing import Any

OLDER, NEWER = "past_key_values", "cache"


def given_cache(arguments: Mapping[str, Any]) -> Any:
    """The cache among the arguments of a model's forward, under either name; None without."""
    newer = arguments.get(NEWER)
    return arguments.get(OLDER) if newer is None else newer


def cache_of(output: Any) -> Any:
    """The cache in what a model gave back; None where there is none."""
    return getattr(output, NEWER if hasattr(output, NEWER) else OLDER, None)
