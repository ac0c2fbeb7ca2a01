"""The page's sections, one a file: each makes HTML of what the rooms around found."""
