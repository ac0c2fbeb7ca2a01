"""A server as a process of this machine alone, and what is sent to it; without adept_llm."""

import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

STARTING = 503  # what a server answers that still loads


@contextmanager
def served(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Start a server on a free port of the loopback, wait until it answers, and end it.

    Args:
        command: Without host and port.
        environment: Variables beside this process's.

    Yields:
        Its address, without a slash at the end.

    Raises:
        RuntimeError: where it ends or says nothing for ten minutes, with its last lines.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with tempfile.TemporaryFile("w+") as said:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", port],
            stdout=said, stderr=subprocess.STDOUT, env=os.environ | dict(environment or {}),
        )  # fmt: skip
        try:
            address = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 600
            while not _answers(address):
                if server.poll() is not None or time.monotonic() > deadline:
                    said.seek(0)
                    lines = [line for line in said.read().splitlines() if line.strip()]
                    raise RuntimeError(" / ".join(lines[-3:]))
                time.sleep(0.5)
            yield address
        finally:
            server.terminate()
            server.wait()


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(f"{address}/health", timeout=5).close()
    except urllib.error.HTTPError as error:
        return error.code != STARTING
    except OSError:
        return False
    return True


def ask(address: str, path: str, body: Mapping[str, Any]) -> Any:
    """Post JSON, read JSON."""
    request = urllib.request.Request(
        f"{address}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)


def completions(client: Any, model: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """All prompts of a case as OpenAI's client completes them, one after another.

    Args:
        client: The client.
        model: The server's name of the model.
        told: What the case expects.

    Returns:
        ids (how many prompts have as many tokens as expected), texts and tokens_per_second.
    """
    texts, lengths = [], 0
    start, tokens = time.perf_counter(), 0
    for prompt, ids in zip(told["prompts"], told["ids"], strict=True):
        out = client.completions.create(
            model=model, prompt=prompt, max_tokens=told["new_tokens"], temperature=0
        )
        texts.append(out.choices[0].text)
        lengths += out.usage.prompt_tokens == len(ids)
        tokens += out.usage.completion_tokens
    speed = round(tokens / (time.perf_counter() - start), 1)
    return {"ids": lengths, "texts": texts, "tokens_per_second": speed}
