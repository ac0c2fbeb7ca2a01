"""Rows and text become token ids: files, templates, tokenising, encoding."""

from adept_llm.data.encoded import Encoded, Report
from adept_llm.data.encoding import Encoder
from adept_llm.data.example import Example, asked, fingerprint
from adept_llm.data.instruction_files import (
    Request,
    own_examples,
    read_instructions,
    read_requests,
)
from adept_llm.data.labels import describe_answers, label_set
from adept_llm.data.learnt import LOSSES
from adept_llm.data.stored import About, Stored, token_counts
from adept_llm.data.templates import TEMPLATES

__all__ = [
    "LOSSES",
    "TEMPLATES",
    "About",
    "Encoded",
    "Encoder",
    "Example",
    "Report",
    "Request",
    "Stored",
    "asked",
    "describe_answers",
    "fingerprint",
    "label_set",
    "own_examples",
    "read_instructions",
    "read_requests",
    "token_counts",
]
