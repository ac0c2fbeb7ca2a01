"""The declarations of the benchmark tasks, one family a file."""
