"""What is told of one call is told to that call alone."""

import copy
import io
import sys
import threading

import pytest
import torch

from adept_llm import get_adapter
from tests.builders import VOCAB, adapted

THREADS, TIMES = 4, 6


@pytest.fixture
def many_switches():
    """Threads that take turns so often that each call is cut by others."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("many_switches")
@pytest.mark.parametrize("method", ["adept", "dept"])
def test_threads_that_call_one_model_at_once_get_what_each_gets_alone(method):
    """A server's threads were given other tokens, and nothing said so."""
    model, generator = adapted(method=method), torch.Generator().manual_seed(0)
    rows = [torch.randint(3, VOCAB, (1, n), generator=generator) for n in (5, 9, 13, 7)]

    def answer(row):
        with torch.no_grad():
            return [model(row[:, :n]).logits for n in range(2, row.shape[1] + 1)]

    expected, found, met = [answer(row) for row in rows], {}, threading.Barrier(THREADS)

    def work(place):
        met.wait()
        found[place] = [answer(rows[place]) for _ in range(TIMES)]

    threads = [threading.Thread(target=work, args=(place,)) for place in range(THREADS)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    for place, answers in enumerate(expected):
        for again in found[place]:
            assert all(torch.equal(x, y) for x, y in zip(again, answers, strict=True))


def test_a_copy_and_a_pickle_begin_with_nothing_told():
    model = adapted(method="dept")
    words = torch.tensor([[5, 6, 7]])
    get_adapter(model).call.told["position_ids"] = torch.zeros(1, 1)
    written = io.BytesIO()
    torch.save(model, written)
    written.seek(0)
    expected = adapted(method="dept")(words).logits
    for twin in (copy.deepcopy(model), torch.load(written, weights_only=False)):
        assert not get_adapter(twin).call.told
        assert torch.equal(twin(words).logits, expected)


def test_a_compiled_model_is_told_too():
    """TorchDynamo follows the hooks, which may not lose what they tell."""
    model = adapted(method="dept")
    words = torch.randint(3, VOCAB, (2, 6), generator=torch.Generator().manual_seed(0))
    expected = [model(words).logits, model(words[:, :4]).logits]
    torch.compiler.reset()
    compiled = torch.compile(model, backend="eager")
    found = [compiled(words).logits, compiled(words[:, :4]).logits]
    torch.compiler.reset()
    assert all(torch.allclose(x, y, atol=1e-5) for x, y in zip(found, expected, strict=True))
