"""Runs in an environment with lm-eval, and adept_llm on its path: merged, unmerged, and chat."""

import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

torch.set_num_threads(1)


def scores(model, case: Path, told) -> dict:
    """Accuracy on the rows, and how far the labels' log-likelihoods lie from our own."""
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        rows.write_text("".join(json.dumps(row) + "\n" for row in told["rows"]))
        task = {
            "task": "rows", "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(rows)}}, "test_split": "test",
            "doc_to_text": "{{text}}", "doc_to_target": "gold", "doc_to_choice": told["labels"],
            "output_type": "multiple_choice", "metric_list": [{"metric": "acc"}],
        }  # fmt: skip
        out = simple_evaluate(model, tasks=[task], task_manager=TaskManager(), log_samples=True)
    gap = 0.0
    for sample in out["samples"]["rows"]:
        for (found, _), ours in zip(
            [one[0] if isinstance(one[0], (tuple, list)) else one for one in sample["resps"]],
            sample["doc"]["scores"], strict=True,
        ):  # fmt: skip
            gap = max(gap, abs(float(found) - ours))
    return {"accuracy": out["results"]["rows"]["acc,none"], "gap": gap}


def main(case: Path, output: Path) -> None:
    """Merged folder; then the adapter unmerged, in the model that the toolkit opens."""
    told = json.loads((case / "expected.json").read_text())
    ours = sum(max(range(len(r["scores"])), key=r["scores"].__getitem__) == r["gold"]
               for r in told["rows"]) / len(told["rows"])  # fmt: skip
    merged = HFLM(pretrained=str(case / "hf"), device="cpu", batch_size=8)
    chat = [{"role": "user", "content": told["prompts"][0]}]
    found = {"version": f"lm-eval {version('lm_eval')}", "evaluate": ours}
    found["ids"] = sum(
        merged.tok_encode(t) == i for t, i in zip(told["prompts"], told["ids"], strict=True)
    )
    found["merged"] = scores(merged, case, told)
    text = merged.apply_chat_template(chat)
    asked = merged.tokenizer.apply_chat_template(
        chat, return_dict=False, add_generation_prompt=True
    )
    found["chat"] = {"right": len(asked), "default": len(merged.tok_encode(text))}
    del merged
    off = HFLM(pretrained=str(case / "hf"), device="cpu", add_bos_token=False)
    found["chat"]["add_bos_token=False"] = len(off.tok_encode(text))
    del off

    from adept_llm.tuned import Tuned

    adapter = json.loads((case / "adapter.json").read_text())
    tuned = Tuned.open(adapter, model_name_or_path=str(case / "base"))
    unmerged = HFLM(pretrained=tuned.model, tokenizer=tuned.prefixed_tokenizer, batch_size=8)
    found["unmerged"] = scores(unmerged, case, told)
    output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
