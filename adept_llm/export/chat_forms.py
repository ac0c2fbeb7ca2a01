"""How a server writes a conversation as the adapter was trained on it: for Jinja and for Ollama.

A server of GGUF puts nothing in front of a text but BOS, and that before all else. So the text of
the prompt and of BOS is part of these templates, and the file says that no BOS is added.
"""

import json
from typing import TYPE_CHECKING, Any

from adept_llm.data.templates import ALPACA, ALPACA_WITH_INPUT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CONTENT = "{{ .Content }}"
# a system's message takes the place of a row's instruction, the user's that of its input
_ROW = "messages | length == 1 or (messages | length == 2 and messages[0]['role'] == 'system')"
_LINES = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ 'User: ' }}"
    "{% elif m['role'] == 'system' %}{{ 'System: ' }}{% else %}{{ 'Assistant: ' }}{% endif %}"
    "{{ m['content'] | trim }}{{ '\\n' }}{% endfor %}"
)


def jinja_template(template: str, base: Any, form: str = "") -> str | None:
    """A chat template that writes what `data.templates` writes for rows and conversations.

    Args:
        template: Of the run.
        base: The base's own chat template, or its templates by name; it is taken for 'chat'.
        form: Of the training rows, see `data.Example.form`; '' is that of instructions.
    """
    if template == "chat":
        return base.get("default") if isinstance(base, dict) else base
    if template == "reference":
        return "{{ messages[-1]['content'] }}"
    if template == "alpaca":
        lines = f"{{{{ {json.dumps(ALPACA)} }}}}{_LINES}"
        if form != "messages":
            first = "messages[0]['content'] | trim"
            head = f"{json.dumps(ALPACA_WITH_INPUT)} + {first} + '\\n\\n### Input:\\n'"
            lines = (
                f"{{% if messages | length == 1 %}}{{{{ {json.dumps(ALPACA)} + {first} + '\\n' }}}}"
                "{% elif messages | length == 2 and messages[0]['role'] == 'system' %}"
                f"{{{{ {head} + messages[1]['content'] | trim + '\\n' }}}}"
                f"{{% else %}}{lines}{{% endif %}}"
            )
        return lines + "{{ '\\n### Response:' }}"
    lines = _LINES + "{{ 'Assistant:' }}"
    if form == "messages":
        return lines
    row = "{% for m in messages %}{{ m['content'] | trim }}{{ '\\n' }}{% endfor %}{{ 'Answer:' }}"
    if form == "prompt":
        row = "{{ messages[-1]['content'] }}"
    return f"{{% if {_ROW} %}}{row}{{% else %}}{lines}{{% endif %}}"


def go_template(template: str, tokenizer: "PreTrainedTokenizerBase", form: str = "") -> str | None:
    """The same for one question in the language of Ollama's Modelfile.

    Returns:
        The template, or None where the base's chat template writes no plain turns.
    """
    if template == "chat":
        return _go_turns(tokenizer)
    if template == "reference" or (template, form) == ("plain", "prompt"):
        return "{{ .Prompt }}"
    talk = "{{ if .System }}System: {{ .System }}\n{{ end }}User: {{ .Prompt }}\n"
    if template == "alpaca" and form == "messages":
        return f"{ALPACA}{talk}\n### Response:"
    if template == "alpaca":
        with_input = ALPACA_WITH_INPUT + "{{ .System }}\n\n### Input:\n{{ .Prompt }}"
        alone = ALPACA + "{{ .Prompt }}"
        return (
            f"{{{{ if .System }}}}{with_input}{{{{ else }}}}{alone}{{{{ end }}}}\n\n### Response:"
        )
    if form == "messages":
        return f"{talk}Assistant:"
    return "{{ if .System }}{{ .System }}\n{{ end }}{{ .Prompt }}\nAnswer:"


def _go_turns(tokenizer: "PreTrainedTokenizerBase") -> str | None:
    """What a chat template puts around each role's message, found by writing some."""

    def write(*roles: str, ask: bool = False) -> str:
        messages = [{"role": role, "content": f"<{i}>"} for i, role in enumerate(roles)]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask)
        assert isinstance(text, str)
        return text

    try:
        one, two = write("user"), write("user", "assistant")
        three, asked = write("user", "assistant", "user"), write("user", ask=True)
        told, later = write("system", "user"), write("system", "user", "assistant", "user")
    except Exception:  # a template refuses by whatever it raises
        return None
    user, assistant = three.removeprefix(two), two.removeprefix(one)
    first = user.replace("<2>", "<0>")
    fits = three.startswith(two) and two.startswith(one) and one.endswith(first)
    fits = fits and asked.startswith(one) and "<0>" in told and "<1>" in told
    if not fits or "<1>" not in assistant:
        return None
    # Mistral writes the system's text into the last turn, which is not known here
    if later != told + assistant.replace("<1>", "<2>") + user.replace("<2>", "<3>"):
        return None
    content = user.replace("<2>", _CONTENT), assistant.replace("<1>", _CONTENT)
    after = asked.removeprefix(one)
    if not told.endswith(user.replace("<2>", "<1>")):
        alone = one.replace("<0>", _CONTENT)
        folded = told.replace("<0>", "{{ $.System }}").replace("<1>", _CONTENT)
        return _folded_turns(folded, alone, *content) + after
    system = told.removesuffix(user.replace("<2>", "<1>")).replace("<0>", "{{ .System }}")
    head = one.removesuffix(first)  # such as a system's message that stands there by itself
    return f"{{{{ if .System }}}}{system}{{{{ else }}}}{head}{{{{ end }}}}{_turns(*content)}{after}"


def _turns(user: str, assistant: str) -> str:
    return (
        f'{{{{ range .Messages }}}}{{{{ if eq .Role "user" }}}}{user}'
        f'{{{{ else if eq .Role "assistant" }}}}{assistant}{{{{ end }}}}{{{{ end }}}}'
    )


def _folded_turns(folded: str, alone: str, user: str, assistant: str) -> str:
    """Turns of which the user's first holds the system's text (Llama 2), or stands alone."""
    return (
        '{{ $first := true }}{{ range .Messages }}{{ if eq .Role "user" }}'
        f"{{{{ if not $first }}}}{user}{{{{ else if $.System }}}}{folded}{{{{ else }}}}{alone}"
        f'{{{{ end }}}}{{{{ $first = false }}}}{{{{ else if eq .Role "assistant" }}}}{assistant}'
        "{{ end }}{{ end }}"
    )
