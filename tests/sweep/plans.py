"""Plans for tests: of real runs of a tiny model, and of a program that only pretends."""

from adept_llm.cli.main import main
from adept_llm.demo import MODEL
from adept_llm.sweep.plan import SweepPlan

# a program that takes arguments as `train` does and pretends to have run; its loss is smallest at
# a rate of 0.1, and it fails at 9
PRETEND = """
    import json, os, sys, time
    from pathlib import Path
    words = sys.argv[1:]
    given = {w[2:]: v for w, v in zip(words, words[1:]) if w.startswith("--")}
    folder, rate = Path(given["output_dir"]), float(given["learning_rate"])
    began = time.time()
    time.sleep(float(given.get("seconds", 0)))
    print("pretending", flush=True)
    if rate == 9:
        sys.exit("error: loss: nan at step 3")
    if rate == 8:
        sys.exit("error: learning_rate: 8 is too much")
    content = json.loads(Path(given["like"]).read_text())
    content["results"]["after"] = {"loss": abs(rate - 0.1), "accuracy": 1 - rate}
    content["results"]["when"] = [began, time.time(), os.environ.get("CUDA_VISIBLE_DEVICES")]
    (folder / "run.json").write_text(json.dumps(content))
"""


def real_plan(rows, folder, **more):
    arguments = {
        "model_name_or_path": str(MODEL), "max_steps": 2, "max_length": 48, "save_strategy": "no",
        "train_file": str(rows / "train.jsonl"), "test_file": str(rows / "test.jsonl"),
        "validation_file": str(rows / "validation.jsonl"), "report_to": "none", "use_cpu": True,
        "num_virtual_tokens": 3, "bottleneck_size": 2, "disable_tqdm": True,
    }  # fmt: skip
    search = {"learning_rate": [0.1, 0.3]}
    return SweepPlan(
        **{"output_dir": str(folder), "search": search, "arguments": arguments, "rungs": [1]} | more
    )


def in_this_process(runs):
    for run in runs:
        run.prepare()
        assert main(["train", *run.words, "--output_dir", str(run.folder)]) == 0
