"""What the clients of a training have cost so far: traffic and operations."""

from collections.abc import Callable

from fedmeta.core.cost import analytic_flops, counted_flops, traffic
from fedmeta.core.types import ClientId, ServerState
from fedmeta.pipelines.training.setup import Setup

COSTS = ("bytes_down", "bytes_up", "flops", "flops_counted", "client_rounds")


def prices(
    setup: Setup,
    name: str,
    state: ServerState,
    sizes: Callable[[ClientId], tuple[int, int]],
    example: ClientId,
) -> Callable[[ClientId], dict[str, float]]:
    """What one client's work in one round costs, by client.

    Args:
        setup: with the model and the algorithms.
        name: of the algorithm that is trained.
        state: what is broadcast.
        sizes: a client's support and query records in a round.
        example: a training client, on whom operations are counted.
    """
    algorithm = setup.algorithms[name]
    down, up = traffic(state.meta)
    counted = counted_flops(algorithm, state.meta, setup.training_task(example, 0))

    def price(client: ClientId) -> dict[str, float]:
        sides = sizes(client)
        work = algorithm.work(*sides)
        flops = analytic_flops(work, setup.model.flops)
        values = (down, up, flops, counted(*sides), 1)
        return {n: int(v) for n, v in zip(COSTS, values, strict=True)}

    return price
