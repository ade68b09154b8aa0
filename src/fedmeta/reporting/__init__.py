"""Tables, figures and one page from a run's histories and scores.

Everything here is a pure function of data frames. A *history* has a row an evaluated
round, *scores* have a row a test client: `num_query` and, of each metric of the
model's score, the sums over the query records `<metric>_sum_before` and
`<metric>_sum_after`. Both come as a mapping from an algorithm's
label to its table, in the order in which the algorithms are to be shown. Histories
hold fractions in [0, 1]; every table made here holds accuracies in percent.
"""
