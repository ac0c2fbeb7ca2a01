"""The site's hook: files outside of docs/ that its pages link to become part of the site.

Pages are read on a code host as well as on the site, so their links are those of the repository:
`../recipes/sst2.yaml`. On the site such a file is copied, and the link changed to the copy. What
`nav` names and docs/ lacks, such as slurm/README.md, is a page of the site too. A link that is
written as the name of a page's file has the page's title on the site.
"""

import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

LINK = re.compile(r"\[(?P<text>[^\]\[]*)\]\((?P<path>[^)#\s:]+)(?P<anchor>#[^)\s]*)?\)")
FENCE = re.compile(r"^(```|~~~)")


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages that the navigation names, and the files that pages link to."""
    root = Path(config.docs_dir).parent
    wanted = [name for name in named(config.nav) if not (Path(config.docs_dir) / name).exists()]
    for name in wanted:
        if (root / name).is_file():
            add(files, name, root, config)
    for page in [one for one in files if one.is_documentation_page()]:
        for _, target in links(page.content_string, place(page, root)):
            inside = target.startswith("docs/")
            if not inside and (root / target).is_file() and not files.get_file_from_path(target):
                add(files, target, root, config)
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Point links at the places that files have on the site."""
    root = Path(config.docs_dir).parent
    here = place(page.file, root)

    def moved(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(here), match["path"]))
        file = files.get_file_from_path(target.removeprefix("docs/"))
        if not file:
            return match[0]  # mkdocs says that it is dead
        path = posixpath.relpath(file.src_uri, posixpath.dirname(page.file.src_uri) or ".")
        told = title(file) if match["text"].endswith(".md") else match["text"]
        return f"[{told}]({path}{match['anchor'] or ''})"

    return "\n".join(line if fenced else LINK.sub(moved, line) for line, fenced in lines(markdown))


def add(files: Files, name: str, root: Path, config: Any) -> None:
    """Make a file of the repository one of the site."""
    files.append(File.generated(config, name, abs_src_path=str(root / name)))


def named(nav: Any) -> Iterator[str]:
    """All files of the navigation."""
    if isinstance(nav, str):
        yield nav
    else:
        for one in nav.values() if isinstance(nav, dict) else nav or ():
            yield from named(one)


def place(file: File, root: Path) -> str:
    """A page's path in the repository."""
    return Path(os.path.relpath(str(file.abs_src_path), root)).as_posix()


def title(file: File) -> str:
    """A page's first heading."""
    return file.content_string.split("\n", 1)[0].removeprefix("#").strip()


def links(markdown: str, here: str) -> Iterator[tuple[str, str]]:
    """Relative links as they are written, and the paths in the repository that they name."""
    for line, fenced in lines(markdown):
        for match in () if fenced else LINK.finditer(line):
            path = match["path"]
            yield path, posixpath.normpath(posixpath.join(posixpath.dirname(here), path))


def lines(markdown: str) -> Iterator[tuple[str, bool]]:
    """Lines, and whether they are code."""
    fenced = False
    for line in markdown.split("\n"):
        fence = bool(FENCE.match(line))
        fenced ^= fence
        yield line, fenced or fence or line.startswith("    ")
