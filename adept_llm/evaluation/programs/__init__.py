"""Programs that a model wrote: run apart from all that could tell them what to say, and judged.

split.py    a test's lines: what the program evaluates, and what is judged from its values
sandbox.py  the process in which either happens
child.py    what runs in that process
check.py    the verdict
"""
