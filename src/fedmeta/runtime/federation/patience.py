"""How long Flower waits before it asks again for an array that is still on its way.

Flower 1.42 waits 1 s at first, on the server as on nodes, and no option shortens that.
An array of the parameters' size is late at most of its stops.
"""

from flwr.supercore.inflatable.inflatable_utils import (
    pull_and_inflate_object_from_tree,
    pull_objects,
)

AGAIN_S = 0.1  # doubled at each try, as there


def ask_again_soon() -> None:
    """Shorten the first wait, in this process."""
    for pull in (pull_objects, pull_and_inflate_object_from_tree):
        pull.__kwdefaults__["initial_backoff"] = AGAIN_S
