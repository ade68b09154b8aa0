"""`kedro sweep`: a pipeline over a grid of parameters, a cell for each point of it.

`grid` says which cells, `cells` what each of them reads and writes and whether it is
finished, `shared` runs what they have in common once, `execute` runs one, `processes`
and `cluster` several at once, and `sweep` is the command.
"""
