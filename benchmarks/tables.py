"""Write the tables of README.md and docs/ from the committed results.

    python -m benchmarks.tables [--check]

A table stands between two comments that name it; what is between them is replaced. `--check`
changes nothing and exits with 1 where a page differs from the results.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = ("README.md", "docs/speed.md")
BEGIN, END = "<!-- python -m benchmarks.tables: {} -->", "<!-- end of {} -->"


def results(name: str) -> dict[str, Any]:
    """A committed JSON file."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def where(found: dict[str, Any]) -> str:
    """What a figure of a CPU rests on, in one line, whatever else the machine has."""
    hardware, versions = found["hardware"], found["versions"]
    machine = f"{hardware['threads']} threads of a CPU"
    peft = f", PEFT {versions['peft']}" if "peft" in versions else ""
    return (
        f"{found['date']}, {machine} ({hardware['instructions']}), {found['model']}, "
        f"{found.get('dtype', 'bfloat16')}, torch {versions['torch']}, "
        f"transformers {versions['transformers']}{peft}, revision {found['revision'][:7]}"
    )


def throughput() -> str:
    """Training beside its peers."""
    found = results("throughput")
    speed = found["examples_per_second"]

    def row(name: str, *keys: str | None) -> list[object]:
        return [name, *(f"{speed[key]:.1f}" if key else "" for key in keys)]

    rows = [
        row("ADePT, packed", "adept 0", "adept 20", "adept 100"),
        row("the same, layers compiled", *(f"adept {m}, compiled" for m in (0, 20, 100))),
        row("ADePT, dynamic padding", None, "adept 20, padded", "adept 100, padded"),
        row("PEFT PromptTuning, dynamic padding", None, "peft prompt tuning 20",
            "peft prompt tuning 100"),
        row("PEFT LoRA, rank 16 on q and v, dynamic padding", "peft lora", None, None),
        row("the same LoRA on packed rows", "peft lora, without padding", None, None),
    ]  # fmt: skip
    table = markdown(["training, examples/s", "m = 0", "m = 20", "m = 100"], rows)
    return f"{table}\n\nSST-2, batch {found['batch']}; {where(found)}."


def ratios() -> str:
    """What the throughput says, as ratios of one process run."""
    found = results("throughput")
    names = {
        "faster_than_peft_prompt_tuning": "times PEFT PromptTuning",
        "faster_than_padded": "times its own padded form",
        "faster_than_peft_lora": "times PEFT LoRA, padded",
        "faster_than_peft_lora_without_padding": "times PEFT LoRA on packed rows",
        "faster_than_sdpa_kernel": "times the SDPA kernel",
        "share_of_frozen_products": "share of the frozen products in a step",
    }
    compiled = {key: names[key] for key in found["compiled"]}
    rows = [
        [said + how, *(_digits(group[key].get(m)) for m in ("0", "20", "100"))]
        for group, chosen, how in ((found, names, ""), (found["compiled"], compiled, ", compiled"))
        for key, said in chosen.items()
    ]
    return markdown(["packed ADePT", "m = 0", "m = 20", "m = 100"], rows)


def _digits(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def evaluation() -> str:
    """Label scoring and answers."""
    found = results("evaluation")
    rows = [
        [f"{name}, m = {m}", *(each.get(way, "") for way in ("packed", "padded", "stock"))]
        for m, tasks in found["one_process"].items()
        for name, each in tasks.items()
    ]
    table = markdown(["rows/s", "packed", "padded", "PEFT and padding"], rows)
    ranks = found["ranks"]
    said = (
        f"Two ranks of one thread score {ranks['2']} rows/s, one of them {ranks['1']}: "
        f"{ranks['faster']} times as many; the sums of all scores differ by "
        f"{ranks['largest_difference_of_the_sum']:.1g}."
    )
    return f"{table}\n\n{said} {found['rows']} rows; {where(found)}."


def whole_run() -> str:
    """Load, train, evaluate."""
    found = results("whole_run")
    rows = [
        [name, f"{found[key]['seconds']:.0f}", f"{100 * found[key]['accuracy']:.1f}"]
        for name, key in (("`adept-llm train`", "ours"), ("PEFT and Trainer", "stock"))
    ]
    table = markdown(
        [f"{found['steps']} steps, 872 rows measured twice", "seconds", "accuracy"], rows
    )
    return f"{table}\n\n{found['faster']} times as fast; m = {found['m']}, {where(found)}."


def step_profile() -> str:
    """Where a step's time goes, and what compiling changes."""
    found = results("step_profile")
    sizes = found["m"].values()
    kinds = next(iter(sizes))["shares"]
    rows: list[list[object]] = [["ms a step", *(f"{one['step_ms']:.0f}" for one in sizes)]]
    rows += [[name, *(f"{100 * one['shares'][name]:.0f} %" for one in sizes)] for name in kinds]
    layers = [one["layers"] for one in sizes]
    rows += [
        ["ms a step, layers compiled", *(f"{one['compiled_ms']:.0f}" for one in layers)],
        ["beside them, not compiled", *(f"{one['eager_ms']:.0f}" for one in layers)],
        ["s of the first compiled step", *(f"{one['first_step_s']:.0f}" for one in layers)],
    ]
    table = markdown(["ADePT, packed", *(f"m = {m}" for m in found["m"])], rows)
    return f"{table}\n\nSST-2, batch {found['batch']}; {where(found)}."


def memory() -> str:
    """Peaks of steps, and what was estimated."""
    found = results("memory")
    rows = [
        [
            one["case"], round(one["resident_mb"]), f"{100 * one['off']:+.1f} %",
            round(one["step_mb"]), f"{100 * one['step_off']:+.1f} %",
        ]
        for one in found["results"]
    ]  # fmt: skip
    table = markdown(["case", "peak MB", "estimated", "of a step, MB", "estimated"], rows)
    return f"{table}\n\n{found['date']}, on a CPU, revision {found['revision'][:7]}."


def startup() -> str:
    """Rows that are read and tokenised, and those that were before."""
    found = results("startup")
    rows = [
        [f"{int(key[5:]):,}", way, f"{one['seconds']:.1f}", one["own_mib"], one["peak_mib"]]
        for key, ways in found.items()
        if key.startswith("rows_") and key != "rows_0"
        for way, one in ways.items()
        if isinstance(one, dict)
    ]
    table = markdown(["rows", "", "seconds", "MiB that are no file's", "peak MiB"], rows)
    machine = f"{found['hardware']['threads']} threads of a CPU"
    return (
        f"{table}\n\nWithout rows {found['rows_0']['own_mib']} MiB. `import adept_llm` takes "
        f"{found['import_seconds']} s, a help page {found['help_seconds']} s, a tiny model's run "
        f"{found['first_step_seconds']} s to its first step. {found['date']}, {machine}, "
        f"{found['tokenizer']}, revision {found['revision'][:7]}."
    )


TABLES: dict[str, Callable[[], str]] = {
    "throughput": throughput,
    "ratios": ratios,
    "step_profile": step_profile,
    "evaluation": evaluation,
    "whole_run": whole_run,
    "startup": startup,
    "memory": memory,
}


def filled(page: str) -> str:
    """A page with its tables made anew."""
    for name, make in TABLES.items():
        begin, end = BEGIN.format(name), END.format(name)
        if begin in page:
            before, rest = page.split(begin, 1)
            page = f"{before}{begin}\n\n{make()}\n\n{end}{rest.split(end, 1)[1]}"
    return page


def main() -> None:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for name in PAGES:
        path = ROOT / name
        page = path.read_text()
        made = filled(page)
        if check and made != page:
            sys.exit(
                f"{name}: a table differs from benchmarks/results; python -m benchmarks.tables"
            )
        path.write_text(made)


if __name__ == "__main__":
    main()
