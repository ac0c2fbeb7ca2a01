"""Runs in an environment with `transformers serve` and the OpenAI client: completions over HTTP."""

import json
import sys
from importlib.metadata import version
from pathlib import Path

from openai import OpenAI

from benchmarks.consumers.http_server import completions, served


def main(case: Path, output: Path) -> None:
    """Serve the merged folder on this machine, ask it, end it."""
    told = json.loads((case / "expected.json").read_text())
    command = [str(Path(sys.executable).parent / "transformers"), "serve"]
    command += ["--device", "cpu", "--dtype", "float32"]
    with served(command, {"HF_HUB_OFFLINE": "1"}) as address:
        client = OpenAI(base_url=f"{address}/v1", api_key="none", timeout=300)
        found = completions(client, str((case / "hf").resolve()), told)
    found["version"] = f"transformers {version('transformers')} serve, openai {version('openai')}"
    found["note"] = "ids: prompt_tokens as expected"
    output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
