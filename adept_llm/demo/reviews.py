"""Sentences of film reviews without a hub, in SST-2's columns.

The source of `vaderSentiment` 3.3.2 (MIT licence, C. J. Hutto) carries the ground truth of Hutto
and Gilbert, "VADER" (ICWSM 2014): 10,605 sentences from reviews on rottentomatoes.com, after Pang
and Lee (2004), each with the mean of twenty people's ratings from -4 to 4. SST-2's sentences are
from there too. They are downloaded, not shipped.
"""

import io
import json
import random
import tarfile
import tempfile
from pathlib import Path

from adept_llm.demo.packages import download
from adept_llm.files import write_whole

PACKAGE = "vaderSentiment==3.3.2"
SENTENCES = "movieReviewSnippets_GroundTruth.txt"
HELD_OUT = 1000
UNDECIDED = 1.0


def fetch_reviews(folder: Path) -> None:
    """Write train.jsonl and validation.jsonl; files that are there stay.

    Raises:
        InputError: if the index cannot be reached.
    """
    if (folder / "validation.jsonl").exists():
        return
    with tempfile.TemporaryDirectory() as name:
        source = download(PACKAGE, Path(name), "--no-binary", ":all:")
        text = sentences_in(source)
    folder.mkdir(parents=True, exist_ok=True)
    rows = labelled(text)
    random.Random(2026).shuffle(rows)
    for split, part in (("train", rows[HELD_OUT:]), ("validation", rows[:HELD_OUT])):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in part)
        write_whole(folder / f"{split}.jsonl", lines.encode())


def sentences_in(source: Path) -> str:
    """The file of sentences, in an archive in the package's source."""
    inner = _member(source.read_bytes(), ".tar.gz")
    return _member(inner, SENTENCES).decode("utf-8", errors="replace")


def labelled(text: str) -> list[dict[str, str | int]]:
    """Rows as SST-2 has them; sentences whose ratings are near 0 are left out."""
    rows: list[dict[str, str | int]] = []
    for line in text.splitlines():
        _, rating, sentence = line.split("\t", 2)
        if abs(float(rating)) >= UNDECIDED:
            rows.append({"sentence": sentence.strip(), "label": int(float(rating) > 0)})
    return rows


def _member(archive: bytes, ending: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        found = next(one for one in tar.getmembers() if one.name.endswith(ending))
        file = tar.extractfile(found)
        assert file is not None
        return file.read()
