"""Types of options that say within which bounds a number makes sense.

They stand in the signatures of factories, which do not check them: whoever reads
options from a file does (`fedmeta.options`). No number is NaN or infinite.
"""

from typing import Annotated, NamedTuple


class Within(NamedTuple):
    """Bounds of a number, for `Annotated`; None: there is none."""

    above: float | None = None  # the number is greater
    least: float | None = None  # or equal
    below: float | None = None  # the number is less
    most: float | None = None  # or equal


Rate = Annotated[float, Within(above=0)]  # of learning; anything positive
Weight = Annotated[float, Within(least=0)]
Decay = Annotated[float, Within(least=0, below=1)]  # what is kept of an average
Share = Annotated[float, Within(above=0, below=1)]
Portion = Annotated[float, Within(above=0, most=1)]
Count = Annotated[int, Within(least=1)]
Number = Annotated[int, Within(least=0)]  # a count that may be 0
Seed = Annotated[int, Within(least=0, below=2**64)]
