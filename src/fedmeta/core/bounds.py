"""Types of options that say within which bounds a number makes sense.

They stand in the signatures of factories, which do not check them: whoever reads
options from a file does (`fedmeta.options`). No number is NaN or infinite.
"""

from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

Rate = Annotated[float, Gt(0)]  # of learning; anything positive
Weight = Annotated[float, Ge(0)]
Decay = Annotated[float, Ge(0), Lt(1)]  # what is kept of an average
Share = Annotated[float, Gt(0), Lt(1)]
Portion = Annotated[float, Gt(0), Le(1)]
Count = Annotated[int, Ge(1)]
Number = Annotated[int, Ge(0)]  # a count that may be 0
Seed = Annotated[int, Ge(0), Lt(2**64)]
