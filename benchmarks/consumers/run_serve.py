"""Runs in an environment with `transformers serve` and the OpenAI client: completions over HTTP."""

import json
import os
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from openai import OpenAI


def main(case: Path, output: Path) -> None:
    """Serve the merged folder on this machine, ask it, end it."""
    told = json.loads((case / "expected.json").read_text())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "transformers"), "serve", "--port", str(port)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    server = subprocess.Popen(
        [*command, "--device", "cpu", "--dtype", "float32"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment,
    )  # fmt: skip
    client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", timeout=300)
    model, texts, lengths = str((case / "hf").resolve()), [], 0
    try:
        for _ in range(120):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(1)
        start, tokens = time.perf_counter(), 0
        for prompt, ids in zip(told["prompts"], told["ids"], strict=True):
            out = client.completions.create(
                model=model, prompt=prompt, max_tokens=told["new_tokens"], temperature=0
            )
            texts.append(out.choices[0].text)
            lengths += out.usage.prompt_tokens == len(ids)
            tokens += out.usage.completion_tokens
        seconds = time.perf_counter() - start
    finally:
        server.terminate()
        server.wait()
    found = {
        "version": f"transformers {version('transformers')} serve, openai {version('openai')}",
        "ids": lengths, "texts": texts, "note": "ids: prompt_tokens as expected",
        "tokens_per_second": round(tokens / seconds, 1),
    }  # fmt: skip
    output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
