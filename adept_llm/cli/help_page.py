"""The page of --help: a command's arguments in groups, a line each, and examples."""

import argparse
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from adept_llm.cli.layouts import Layout

WIDTH = 100
COLUMN = 32


@dataclass(frozen=True)
class Argument:
    """What a page tells of an argument."""

    name: str
    """As it is stored: `output_dir`."""
    written: str
    """As it is written: `--output_dir`, or `FILE`."""
    help: str
    default: Any
    required: bool
    choices: tuple[str, ...]

    @staticmethod
    def of(action: argparse.Action) -> "Argument":
        """An argument of a parser."""
        written = action.option_strings[0] if action.option_strings else str(action.metavar)
        return Argument(
            name=written.lstrip("-"),
            written=written,
            help=" ".join((action.help or "").replace("%%", "%").split()),
            default=action.default,
            required=action.required,
            choices=tuple(map(str, action.choices or ())),
        )

    def lines(self, text: str = "") -> list[str]:
        """It on a page, under its name where that is long.

        Args:
            text: instead of its own.
        """
        text = text or self.help
        if self.choices and "{" not in text:  # which `completion` reads
            text += f" {{{', '.join(self.choices)}}}"
        if self.required:
            text += " (required)"
        elif (shown := _shown(self.default)) and "default:" not in text:
            text += f" [{shown}]"
        indent = " " * COLUMN
        lines = textwrap.wrap(
            text.strip(), WIDTH, initial_indent=indent, subsequent_indent=indent,
            break_long_words=False, break_on_hyphens=False,
        ) or [indent]  # fmt: skip
        name = f"  {self.written}"
        if len(name) >= COLUMN:
            return [name, *lines]
        return [name + lines[0][len(name) :], *lines[1:]]


def render(layout: Layout, arguments: Iterable[Argument], whole: bool = False) -> str:
    """A page.

    Args:
        layout: the command's.
        arguments: all that its parser has.
        whole: with those that the layout calls rare, with what it does not name at all, and with
            the full text of each.
    """
    known = {one.name: one for one in arguments if one.written not in ("-h", "--help")}
    lines = textwrap.wrap(f"usage: {layout.usage}", WIDTH, subsequent_indent=" " * 7)
    lines += ["", *textwrap.wrap(layout.about, WIDTH)] if layout.about else []
    left = {name: one for name, one in known.items() if name not in layout.refused}
    texts = layout.texts if whole else {**layout.texts, **layout.short}
    for title, names in layout.groups.items():
        group = [left.pop(name) for name in names if name in left]
        lines += _group(title, group, texts)
    rare = [left.pop(name) for name in layout.rare if name in left]
    left = {name: one for name, one in left.items() if not name.startswith("no_")}
    if whole:
        lines += _group("rarely needed", rare, texts)
        lines += _group("further arguments of transformers.TrainingArguments", left.values(), texts)
    elif not layout.rare:
        lines += _group("arguments", left.values(), texts)
    if layout.examples:
        lines += ["", "examples:" if len(layout.examples) > 1 else "example:"]
        lines += [f"  {example}" for example in layout.examples]
    lines += [layout.end] if layout.end else []
    return "\n".join(lines) + "\n"


def _group(title: str, arguments: Iterable[Argument], texts: dict[str, str]) -> Sequence[str]:
    lines = [line for one in arguments for line in one.lines(texts.get(one.name, ""))]
    return ["", f"{title}:", *lines] if lines else []


def _shown(default: Any) -> str:
    if default is None or default is argparse.SUPPRESS or default in ("", [], {}):
        return ""
    value = getattr(default, "value", default)
    return str(value).lower() if isinstance(value, bool) else str(value)
