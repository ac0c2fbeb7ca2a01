"""Ranks over a slow link: what a step costs, measured and by a model."""
