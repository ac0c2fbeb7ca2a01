"""Packed against padded, for every supported architecture: differences of loss and gradients.

python -m benchmarks.packing_parity
"""

import json

from adept_llm.adapters import METHODS
from tests.builders import PACKED, adapted, both, make_examples


def main() -> None:
    """Print one JSON line for each architecture and method."""
    examples = make_examples([(3, 2), (9, 1), (1, 4), (6, 3)])
    for name in PACKED:
        for method in METHODS:
            padded, packed = both(adapted(name, method), examples)
            worst = max(((packed[1][n] - g).norm() / g.norm()).item() for n, g in padded[1].items())
            line = {
                "architecture": name,
                "method": method,
                "loss": padded[0],
                "relative_loss_difference": abs(packed[0] - padded[0]) / padded[0],
                "worst_relative_gradient_difference": worst,
            }
            print(json.dumps(line))


if __name__ == "__main__":
    main()
