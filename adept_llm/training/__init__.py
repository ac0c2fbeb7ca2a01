"""Train an adapter on a frozen model."""
