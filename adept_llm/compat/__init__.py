"""The only room that touches private names of other libraries.

Each name stands in one function that says which versions were read and what breaks when it changes.
tests/compat has a test for each, which fails when the installed version no longer has or calls it.
"""
