r"""Why the first attempts at SST-2 stayed at chance: the base, the steps, or the scale?

    python -m benchmarks.sst2_why --model DIR --data_dir DIR > FILE.json

1. Linear probes on what the frozen base offers: counts of words, mean embedding, last hidden state.
2. ADePT (20, 39) for 200 and 400 steps, its values in units of the table's rms.
3. The same for 400 steps with plain values, as in the papers' formula, over a grid of rates.
"""

import argparse
import json

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from adept_llm.base.loading import load_model
from benchmarks.sst2_methods import encoded, train

NAME = "adept (20, 39)"


def probes(model_dir: str, data_dir: str) -> dict[str, float]:
    """Accuracy on validation of logistic regressions, the best of three strengths."""
    data, split = encoded(model_dir, data_dir, final=True)
    test = [window for (window,) in split.windows]
    model = load_model(model_dir)
    table = model.get_input_embeddings().weight.detach().float()
    features: dict[str, list[np.ndarray]] = {"counts": [], "mean embedding": [], "last state": []}
    for rows in (data, test):
        counts = torch.zeros(len(rows), table.shape[0])
        states = []
        for i, e in enumerate(rows):
            ids = torch.tensor(e.prompt_ids)
            counts[i].index_add_(0, ids, torch.ones(len(ids)))
            with torch.no_grad():
                out = model(ids[None], output_hidden_states=True)
            states.append(out.hidden_states[-1][0, -1])
        features["counts"].append(counts.numpy())
        features["mean embedding"].append((counts @ table / counts.sum(1, keepdim=True)).numpy())
        features["last state"].append(torch.stack(states).float().numpy())
    targets = [[e.label for e in rows] for rows in (data, test)]
    found = {}
    for name, (x, x_test) in features.items():
        scale = x.std() or 1.0
        scores = [
            LogisticRegression(C=c, max_iter=2000)
            .fit(x / scale, targets[0])
            .score(x_test / scale, targets[1])
            for c in (0.01, 0.1, 1.0)
        ]
        found[name] = max(scores)
    return found


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    where = (args.model, args.data_dir, NAME)
    runs = []
    for steps in (200, 400):
        runs.append(
            {"units": "rms", **train(*where, 0.3, 0.03, 0, steps=steps, threads=args.threads)}
        )
    rms = 0.074  # the prompt's rate stays the same in plain units
    for rate in (1e-4, 1e-3, 3e-3, 1e-2, 3e-2):
        result = train(*where, 0.3 * rms, rate, 0, threads=args.threads, units="plain")
        runs.append({"units": "plain", **result})
    print(json.dumps({"probes": probes(args.model, args.data_dir), "runs": runs}, indent=1))


if __name__ == "__main__":
    main()
