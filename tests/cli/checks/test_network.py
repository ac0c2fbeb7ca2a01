"""The hub, network cards and ports: each failure is provoked on this machine."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from adept_llm.cli.checks import network
from adept_llm.cli.checks.network import hub, interfaces, port


class Hub(BaseHTTPRequestHandler):
    """As the hub answers who asks whether he may read a model."""

    def do_HEAD(self):  # noqa: N802
        self.answer(405)

    def do_GET(self):  # noqa: N802
        if "/gated/" in self.path:
            self.answer(403, "GatedRepo")
        elif "/unknown/" in self.path:
            self.answer(404, "RepoNotFound")
        elif "/broken/" in self.path:
            self.answer(418)
        else:
            self.answer(200)

    def answer(self, code, error=""):
        self.send_response(code)
        if error:
            self.send_header("X-Error-Code", error)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def endpoint(monkeypatch):
    server = HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    reach(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    server.server_close()


def reach(monkeypatch, address):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    api = __import__("huggingface_hub").HfApi(endpoint=address)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: api)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def cached(monkeypatch, there):
    found = "/cache/config.json" if there else None
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: found)


@pytest.mark.parametrize(
    ("name", "said", "fails"),
    [
        ("gated/model", "given to registered users; ask for it at https://hugg", True),
        ("unknown/model", "is not on the hub; look at the name", True),
        ("broken/model", "try again later", False),
        ("open/model", "open/model, given to you", False),
    ],
)
def test_a_model_that_is_gated_or_unknown(endpoint, monkeypatch, name, said, fails):
    cached(monkeypatch, False)
    answers, model = hub(name)
    assert not answers.fix
    assert said in str(model) and model.fails == fails
    assert not fails or model.hint == "hf auth login"


def test_a_hub_that_is_not_reached(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        reach(monkeypatch, f"http://127.0.0.1:{free.getsockname()[1]}")
        cached(monkeypatch, False)
        (needed,) = hub("open/model")
        (unasked,) = hub(None)
        cached(monkeypatch, True)
        (there,) = hub("open/model")
    assert needed.fails and "refused" in needed.state and "HTTPS_PROXY" in needed.fix
    assert unasked.note and there.note


@pytest.mark.parametrize("there", [True, False])
def test_offline_with_and_without_the_model_in_the_cache(monkeypatch, there):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    cached(monkeypatch, there)
    (finding,) = hub("open/model")
    assert finding.fails != there
    assert there or "hf download open/model" in finding.hint


def test_a_folder_needs_no_hub(tmp_path, monkeypatch):
    monkeypatch.setattr(network, "unreached", lambda _: pytest.fail("was asked"))
    (finding,) = hub(str(tmp_path))
    assert not finding.fix


@pytest.fixture
def cards(monkeypatch):
    names = [(1, "lo"), (2, "docker0"), (3, "eth0"), (4, "ib0")]
    monkeypatch.setattr(socket, "if_nameindex", lambda: names)
    for name in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variable", "value", "fails"),
    [
        ("NCCL_SOCKET_IFNAME", "eno1", True),
        ("NCCL_SOCKET_IFNAME", "eth", False),  # NCCL takes beginnings of names
        ("NCCL_SOCKET_IFNAME", "=eth", True),
        ("NCCL_SOCKET_IFNAME", "eno1,ib", False),
        ("NCCL_SOCKET_IFNAME", "^eno1", False),
        ("GLOO_SOCKET_IFNAME", "eth", True),  # gloo takes names
        ("GLOO_SOCKET_IFNAME", "eth0", False),
    ],
)
def test_a_network_card_that_is_not_there(cards, monkeypatch, variable, value, fails):
    assert list(interfaces()) == []
    monkeypatch.setenv(variable, value)
    found = list(interfaces())
    assert [one.fails for one in found] == [fails] * len(found)
    if fails:
        assert "it has eth0, ib0" in found[0].fix and found[0].hint == f"export {variable}=eth0"


@pytest.fixture
def rank(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    monkeypatch.setenv("RANK", "0")
    return monkeypatch


def test_a_port_that_another_run_has(rank):
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        rank.setenv("MASTER_PORT", str(other.getsockname()[1]))
        (finding,) = port()
        assert finding.fails and "Address already in use" in finding.state
        rank.setenv("RANK", "1")
        assert list(port()) == []  # only rank 0 opens it
        rank.setenv("RANK", "0")
        rank.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
        assert list(port()) == []  # torchrun itself has it
        rank.delenv("TORCHELASTIC_USE_AGENT_STORE")
    (finding,) = port()
    assert not finding.fix
