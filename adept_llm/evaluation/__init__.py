"""Measure a model on a task."""
