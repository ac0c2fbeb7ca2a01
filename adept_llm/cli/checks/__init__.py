"""What doctor looks at on one machine, a file for each kind of thing."""
