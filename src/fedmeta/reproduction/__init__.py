"""The paper's tables and figures from many runs, as MLflow has recorded them.

`runs` reads them into frames; `settings` says which of them belong together; `table2`,
`claims` and `commands` are functions of those frames; `study` puts together what one
experiment gives and `report` all of them.
"""
