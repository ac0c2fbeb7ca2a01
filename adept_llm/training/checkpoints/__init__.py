"""Checkpoints of a run: folders, what is in them, and a Trainer that writes and reads them."""
