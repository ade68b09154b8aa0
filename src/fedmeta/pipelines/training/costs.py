"""What clients have cost so far: traffic and operations.

Those of the training that another starts from count as well.
"""

from collections.abc import Callable, Iterable, Mapping

from fedmeta.checkpoints import Checkpoint
from fedmeta.core.compression import Compression
from fedmeta.core.cost import analytic_flops, counted_flops, traffic
from fedmeta.core.model import Model
from fedmeta.core.types import Algorithm, ClientId, ServerState, Task

COSTS = ("bytes_down", "bytes_up", "flops", "flops_counted", "client_rounds")


def spent_before(start: Checkpoint | None) -> dict[str, float]:
    """Costs of the training that another starts from; none where it has no row."""
    histories = start.history.values() if start else ()
    last = [row for table in histories for row in table.tail(1).to_dict("records")]
    return {name: last[0][name] if last else 0 for name in COSTS}


def prices(
    model: Model,
    algorithm: Algorithm,
    state: ServerState,
    sizes: Callable[[ClientId], tuple[int, int]],
    example: Task,
    compression: Compression | None = None,
) -> Callable[[ClientId], dict[str, float]]:
    """What one client's work in one round costs, by client.

    Args:
        model: that is trained.
        algorithm: that trains it.
        state: what is broadcast.
        sizes: a client's support and query records in a round.
        example: of a training client, on which operations are counted.
        compression: of what clients send.
    """
    down, up = traffic(algorithm.sent(state.meta), compression)
    counted = counted_flops(algorithm, state.meta, example)

    def price(client: ClientId) -> dict[str, float]:
        sides = sizes(client)
        work = algorithm.work(*sides)
        flops = analytic_flops(work, model.flops)
        values = (down, up, flops, counted(*sides), 1)
        return {n: int(v) for n, v in zip(COSTS, values, strict=True)}

    return price


def summed(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Sums of each of the costs."""
    held = list(parts)
    return {name: sum(part[name] for part in held) for name in COSTS}
