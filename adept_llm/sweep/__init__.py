"""Search over a run's arguments: many runs, one after another, side by side or as a Slurm array."""
