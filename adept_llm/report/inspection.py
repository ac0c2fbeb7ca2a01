"""The page of one run: what its adapter does to the words, and who looks at its prompt."""

from adept_llm.report.attention import Attention
from adept_llm.report.groups import Comparison
from adept_llm.report.page import document
from adept_llm.report.runs import Run
from adept_llm.report.sections.attention import attention_section
from adept_llm.report.sections.words import words_section


def inspection(run: Run, attention: Attention | None, base: str | None = None) -> str:
    """The whole file.

    Args:
        run: A finished one.
        attention: To its prompt; None without one.
        base: As for `read_words`.
    """
    comparison = Comparison.of([run])
    (setting,) = comparison.settings
    sections = {
        "words": ("Words", words_section(comparison, base)),
        "attention": ("Attention", attention_section(attention) if attention else None),
    }
    short = (base or run.base).rstrip("/").rsplit("/", 1)[-1]
    title, told = f"Inside a run of {run.method}", f"{run.folder}: {setting.task} on {short}"
    return document(title, told, sections, "adept-llm inspect")
