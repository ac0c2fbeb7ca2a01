"""Runs beside a built llama-server: one extended base, two LoRAs, each request names its own."""

import json
import random
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.consumers.http_server import ask, served
from benchmarks.consumers.run_llama_server import SERVER, name_of

Asked = tuple[int | None, int]  # an adapter or none, a prompt


class Case:
    """Two adapters' prompts and answers, and those of their base without one."""

    def __init__(self, folder: Path) -> None:
        """Read what is expected; ask the base alone."""
        two = folder / "two"
        self.told = [json.loads((f / "expected.json").read_text()) for f in (folder, two)]
        self.count = len(self.told[0]["ids"])
        self.base = [*SERVER, "-m", str(two / "base.gguf")]
        self.files = [str(two / f"{name}.gguf") for name in ("first", "second")]
        with served(self.base) as address:
            self.alone = [self.answer(address, None, i, {}) for i in range(self.count)]

    def answer(self, address: str, adapter: int | None, i: int, lora: dict[str, Any]) -> str:
        """The greedy text behind a prompt's ids; those of the first adapter where none is asked."""
        told = self.told[adapter or 0]
        body = {"prompt": told["ids"][i], "n_predict": told["new_tokens"], "temperature": 0}
        return ask(address, "completion", body | lora)["content"].strip()

    def right(self, options: Sequence[str], asked: Sequence[Asked], unnamed: dict) -> dict:
        """How many requests are answered as expected, four at a time, by adapter.

        Args:
            options: Of the server, beside those of all.
            asked: The requests in their order.
            unnamed: What a request carries that wants no adapter.
        """

        def one(request: Asked) -> bool:
            adapter, i = request
            lora = unnamed if adapter is None else {"lora": [{"id": adapter, "scale": 1}]}
            text = self.answer(address, adapter, i, lora)
            return text == (
                self.alone[i] if adapter is None else self.told[adapter]["texts"][i].strip()
            )

        with served([*self.base, *options]) as address, ThreadPoolExecutor(4) as pool:
            same = list(pool.map(one, asked))
        return {
            name: sum(ok for ok, (adapter, _) in zip(same, asked, strict=True) if adapter == key)
            for name, key in (("first", 0), ("second", 1), ("without", None))
        }


def main(folder: Path, output: Path) -> None:
    """As docs/serving.md says, and with the server's own choices."""
    case = Case(folder)
    asked: list[Asked] = [(adapter, i) for i in range(case.count) for adapter in (0, 1, None)]
    random.Random(0).shuffle(asked)
    scaled = ["--lora-scaled", ",".join(f"{file}:0" for file in case.files)]
    plain = ["--lora", ",".join(case.files), "--lora-init-without-apply"]
    off = {"lora": [{"id": 0, "scale": 0}]}
    told = {
        "--lora-scaled .:0, --cache-ram 0": (case.right([*scaled, "--cache-ram", "0"], asked, off)),
        "without --cache-ram 0": case.right(scaled, asked, off),
        "--lora-init-without-apply, and no lora in a request that wants none": (
            case.right([*plain, "--cache-ram", "0"], asked, {})
        ),
    }
    found = {
        "version": name_of("llama-server"),
        "note": f"two LoRAs and none by requests in random order, right of {case.count}: "
        + "; ".join(f"{how}: {counts}" for how, counts in told.items()).replace("'", ""),
    }
    output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
