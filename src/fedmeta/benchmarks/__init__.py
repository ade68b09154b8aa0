"""Data sets with the model that a paper puts on each; `registry` is the table."""
