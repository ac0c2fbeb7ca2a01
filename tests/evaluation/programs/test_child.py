"""Values on their way from a program to its judge: plain data comes as it was, else nothing."""

import json
from collections import Counter, OrderedDict, defaultdict
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from adept_llm.evaluation.programs.child import decode, encode


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -7, {frozenset([1])}, 10**4000, 0.1, -0.0, float("inf"), 1e-320, 1 + 2j, "",
        "\ud800\n", b"\0x",
        [], [1, [2.0, "3"]], (), (1,), {1: "a", "1": "b", (1, 2): None}, {1, "1"}, {(1, 2)},
        Decimal("1.10"), Fraction(1, 3),
    ],
)  # fmt: skip
def test_plain_data_comes_as_it_was(value):
    """Types as well: 1 is not 1.0, a tuple no list."""
    back = decode(json.loads(json.dumps(encode(value))))
    assert back == value and type(back) is type(value)
    assert isinstance(value, set) or repr(back) == repr(value)


@pytest.mark.parametrize(
    "value, plain",
    [
        (Counter("aab"), {"a": 2, "b": 1}),
        (defaultdict(list, {1: [2]}), {1: [2]}),
        (OrderedDict(a=1), {"a": 1}),
        ({1: 2}.keys(), {1}),
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        ([np.bool_(True)], [True]),
    ],
)
def test_kinds_of_plain_data_come_as_what_they_equal(value, plain):
    """As in an assertion of the same process."""
    back = decode(json.loads(json.dumps(encode(value))))
    assert back == plain and type(back) is type(plain) and back == value


def test_nothing_of_a_subclass_comes_along():
    """Its equality least of all."""

    class Same(list):
        __eq__ = lambda *a: True  # noqa: E731

    assert decode(encode(Same())) != [1]


@pytest.mark.parametrize("value", [object(), len, iter([]), np.ones(2), {1: object()}])
def test_other_objects_do_not_come(value):
    """Such an answer counts as failed."""
    with pytest.raises(TypeError, match="no plain data"):
        encode(value)
