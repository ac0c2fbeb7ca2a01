"""The series' colours differ for all readers, and stand out from the ground.

Colour blindness as Machado, Oliveira and Fernandes (2009) model it, at full severity: matrices on
linear RGB. Distances are Euclidean in OKLab (Ottosson, 2020); 0.02 or so is just to be seen.
"""

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import adept_llm.report
from adept_llm.report.figures import SERIES

STYLE = (Path(adept_llm.report.__file__).parent / "page.css").read_text()
VISION = {
    "usual": np.eye(3),
    "no red cones": [
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no green cones": [
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no blue cones": [
        [1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}  # fmt: skip


def linear(colour):
    values = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def oklab(rgb):
    to_cones = [
        [0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]  # fmt: skip
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]  # fmt: skip
    return np.array(to_lab) @ np.cbrt(np.array(to_cones) @ np.clip(rgb, 0, 1))


def theme(dark):
    part = STYLE.split("@media screen and (prefers-color-scheme: dark)")[dark]
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", part))
    return [colours[f"s{i}"] for i in range(SERIES)], colours


def contrast(one, two):
    """WCAG's ratio."""
    low, high = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (one, two))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("vision", VISION)
def test_all_pairs_differ(vision, dark):
    seen = [oklab(np.array(VISION[vision]) @ linear(colour)) for colour in theme(dark)[0]]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 0.09


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_lines_and_texts_stand_out_from_the_ground(dark):
    """3 for graphics and 4.5 for text, as WCAG 2.2 asks."""
    series, colours = theme(dark)
    assert min(contrast(colour, colours["ground"]) for colour in series) >= 3
    for text in ("ink", "soft", "link"):
        assert contrast(colours[text], colours["ground"]) >= 4.5
        assert contrast(colours[text], colours["raised"]) >= 4.5
