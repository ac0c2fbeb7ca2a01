"""Losses of one run in every form it can take, and the bytes of frozen weights on each rank.

python -m benchmarks.sharding_parity [steps]
"""

import sys

from adept_llm.cli.columns import print_columns
from tests.training.variants import difference, measure_all, reference_of


def main() -> None:
    """Print a table."""
    results = measure_all(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
    rows = [
        [name, f"{r['losses'][0]:.6f}", f"{r['losses'][-1]:.6f}",
         f"{difference(r, results[reference_of(name)]):.1e}",
         " ".join(f"{b:,}" for b in r["bytes"])]
        for name, r in results.items()
    ]  # fmt: skip
    print_columns(["run", "first loss", "last loss", "worst difference", "frozen bytes"], rows)


if __name__ == "__main__":
    main()
