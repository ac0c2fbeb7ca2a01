"""Finished runs become a page or a table: what `adept-llm report` writes."""
