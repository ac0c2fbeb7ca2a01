"""The only room that touches private names of other libraries."""
