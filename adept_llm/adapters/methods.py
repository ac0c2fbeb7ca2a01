"""The methods: each is a prompt form with an offset form. A new pair is a line here."""

from dataclasses import dataclass

from adept_llm.adapters.forms import OffsetForm, PromptForm
from adept_llm.adapters.offsets import (
    GatedOffset,
    LinearOffset,
    NetworkOffset,
    NoOffset,
    PositionOffset,
    WordOffset,
)
from adept_llm.adapters.prompts import (
    LowRankPrompt,
    PlainPrompt,
    ProjectedPrompt,
    SuperposedPrompt,
)


@dataclass(frozen=True)
class Method:
    """What a method's name stands for."""

    prompt: type[PromptForm]
    offset: type[OffsetForm]


METHODS = {
    "adept": Method(PlainPrompt, NetworkOffset),
    "adept_linear": Method(PlainPrompt, LinearOffset),
    "adept_gated": Method(PlainPrompt, GatedOffset),
    "dept": Method(PlainPrompt, PositionOffset),
    "prompt_tuning": Method(PlainPrompt, NoOffset),
    "embedding_lora": Method(PlainPrompt, WordOffset),
    "dpt": Method(LowRankPrompt, NoOffset),
    "superpos": Method(SuperposedPrompt, NoOffset),
    "ulpt": Method(ProjectedPrompt, NoOffset),
}
