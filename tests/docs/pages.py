"""What users read: pages, their links and headings, and the code in them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *ROOT.glob("docs/*.md"),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        *(ROOT / name for name in ("ds_configs/README.md", "slurm/README.md")),
    ]
)
FENCE = re.compile(r"\s*(```+|~~~+)\s*(\w*)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`]+)`")
PROGRAMS = "adept-llm torchrun deepspeed accelerate sbatch srun python make pip cp".split()


class Line(NamedTuple):
    """A line of a page: its number, its text, and the language of the block it is in."""

    number: int
    text: str
    language: str | None


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def lines(page: Path) -> Iterator[Line]:
    """All lines but fences; language is None for prose, '' for code without one."""
    fence, language = "", ""
    for number, text in enumerate(page.read_text("utf-8").splitlines(), 1):
        match = FENCE.match(text)
        if match and (not fence or match[1] == fence):
            fence, language = ("", "") if fence else (match[1], match[2])
        elif fence:
            yield Line(number, text, language)
        else:
            yield Line(number, text, "" if text.startswith("    ") else None)


def links(page: Path) -> list[tuple[int, str]]:
    """Links of the prose that do not go to other hosts."""
    return [
        (line.number, target)
        for line in lines(page)
        if line.language is None
        for target in LINK.findall(line.text)
        if not re.match(r"[a-z]+:", target)
    ]


def anchors(page: Path) -> set[str]:
    """Of its headings, as mkdocs and code hosts make them."""
    heads = [line.text for line in lines(page) if line.language is None and line.text[:1] == "#"]
    words = [re.sub(r"[^\w\s-]", "", head.lstrip("#")).strip().lower() for head in heads]
    return {re.sub(r"\s", "-", word) for word in words}


def python_blocks(page: Path) -> list[tuple[int, str]]:
    """Fenced blocks of Python, with the number of their first line."""
    blocks: list[list[Line]] = []
    for line in lines(page):
        if line.language == "python":
            if not blocks or blocks[-1][-1].number != line.number - 1:
                blocks.append([])
            blocks[-1].append(line)
    return [(block[0].number, "\n".join(line.text for line in block)) for block in blocks]


def spans(page: Path) -> list[tuple[int, str]]:
    """What stands between backticks in prose."""
    return [
        (line.number, span)
        for line in lines(page)
        if line.language is None
        for span in SPAN.findall(line.text)
    ]


def commands(page: Path) -> list[tuple[int, str]]:
    """Command lines of code blocks and backticks, continued lines joined."""
    found, joined = [], ""
    for line in lines(page):
        if line.language in ("", "sh", "bash", "console"):
            joined += line.text.strip().removesuffix("\\")
            if line.text.endswith("\\"):
                continue
            found.append((line.number, joined))
        joined = ""
    return [one for one in [*found, *spans(page)] if one[1].split(" ")[0] in PROGRAMS]
