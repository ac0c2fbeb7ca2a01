"""Section of an inspected run: attention to the prompt, layer by layer."""

from adept_llm.report.attention import Attention
from adept_llm.report.figures import Line, panel
from adept_llm.report.html import Html, table
from adept_llm.report.sections.layout import folded, paragraph, plots, section


def attention_section(found: Attention) -> Html:
    """A plot, and the numbers behind a click."""
    layers = range(1, len(found.shares) + 1)
    lines = [
        Line("to the prompt", 0, [*layers], [100 * share for share in found.shares]),
        Line("spread evenly", 1, [*layers], [100 * found.even] * len(found.shares)),
    ]
    told = paragraph(
        "Of the position from which the answer is predicted: the share of its attention that goes "
        f"to the virtual tokens, mean over heads and {found.rows} rows. The dashed line is an even "
        "spread over all tokens."
    )
    title = "% of attention to the prompt, by layer"
    numbers = table(
        "Attention to the prompt",
        ["layer", "%"],
        [[str(layer), f"{100 * s:.1f}"] for layer, s in zip(layers, found.shares, strict=True)],
    )
    return section(
        "attention", "Attention", told, plots([panel(title, "layer", lines, markers=False)]),
        folded("The numbers", numbers),
    )  # fmt: skip
