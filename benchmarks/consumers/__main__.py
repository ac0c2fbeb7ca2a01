"""Install, run and tabulate: python -m benchmarks.consumers [NAMES] --base .. --run .. --tiny .."""

import argparse
import json
import os
import subprocess
from pathlib import Path

from adept_llm.errors import InputError
from benchmarks.consumers.cases import untrained_adapter, write_case, write_two
from benchmarks.consumers.environments import CACHE, CONSUMERS
from benchmarks.consumers.table import counted, write_table

RESULTS = Path(__file__).parents[1] / "results" / "consumers"


def main() -> None:
    """Each consumer on each case, one after another; what fails says why in the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CONSUMERS)}")
    parser.add_argument("--base", type=Path, required=True, help="SmolLM2-135M of real_base")
    parser.add_argument("--run", type=Path, required=True, help="a run on SST-2 with it, plain")
    parser.add_argument("--data_dir", type=Path, required=True, help="SST-2's rows")
    parser.add_argument("--tiny", type=Path, required=True, help="stories260K")
    given = parser.parse_args()
    if wrong := set(given.names) - set(CONSUMERS):
        parser.error(f"unknown: {', '.join(sorted(wrong))}")
    work = CACHE / "cases"
    tiny, real = work / "stories260K", work / "smollm2-135m"
    if not (tiny / "expected.json").exists():
        adapter = untrained_adapter(given.tiny, work / "stories260K-adapter")
        write_case(tiny, given.tiny, adapter, None)
    write_case(real, given.base, given.run, given.data_dir)
    for case in (tiny, real):
        write_two(case)
    (real / "adapter.json").write_text(json.dumps(str(given.run.resolve())))
    for name in given.names or CONSUMERS:
        for case in (tiny, real):
            run(name, case)
    write_table(RESULTS, [tiny.name, real.name])


def run(name: str, case: Path) -> None:
    """One consumer on one case, unless its result is there."""
    output = RESULTS / f"{name}-{case.name}.json"
    consumer = CONSUMERS[name]
    if output.exists() or not (case / consumer.needs).exists():
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    print(f"{name}, {case.name}", flush=True)
    try:
        consumer.install()
        root = str(Path(__file__).parents[2])
        environment = os.environ | {
            "PYTHONPATH": root, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }  # fmt: skip
        command = ["nice", "-n", "10", *consumer.command(case, output)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        failed = "" if output.exists() else (lines or ["it says nothing"])[-1]
        if failed:
            print(done.stderr[-2000:])
    except (subprocess.CalledProcessError, FileNotFoundError, InputError) as error:
        failed = f"cannot be installed: {error}"
    told = json.loads((case / "expected.json").read_text())
    if failed:
        found = {"failed": failed.replace(str(Path.home()), "~")[:300]}
    else:
        found = counted(json.loads(output.read_text()), told)
    output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
