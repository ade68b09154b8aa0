"""From results to reports: pure functions of data frames.

`results` has the two tidy tables that everything is made from, `measures` the numbers
in them, one a seed, and `verdicts` the one rule by which a claim is held.
`curves` and `figure_kinds` draw, `shown` makes tables for people, `wording` says how a
column is written, and `report` puts all of it on a page. What a study says of its
results is in `fedmeta.studies`; `tables` and `figures` compare algorithms, for the
comparison of a benchmark and for `fedmeta.reproduction`.

A *history* has a row an evaluated round, *scores* have a row a test client: `num_query`
and, of each metric of the model's score, the sums over the query records
`<metric>_sum_before` and `<metric>_sum_after`. Histories hold fractions in [0, 1];
tables hold accuracies in percent.
"""
