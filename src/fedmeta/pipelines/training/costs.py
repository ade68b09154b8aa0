"""What the clients of a training have cost so far: traffic and operations."""

from collections.abc import Callable

import pandas as pd

from fedmeta.core.cost import analytic_flops, counted_flops, traffic
from fedmeta.core.types import ClientId, ServerState
from fedmeta.pipelines.training.setup import Setup

COSTS = ("bytes_down", "bytes_up", "flops", "flops_counted", "client_rounds")


def prices(
    setup: Setup,
    name: str,
    state: ServerState,
    support_query: pd.DataFrame,
    example: ClientId,
) -> Callable[[ClientId], dict[str, float]]:
    """What one client's work in one round costs, by client."""
    algorithm = setup.algorithms[name]
    down, up = traffic(state.meta)
    counted = counted_flops(algorithm, state.meta, setup.training_task(example, 0))
    sizes = {
        row.client_id: (row.num_support, row.num_query)
        for row in support_query.itertuples()
    }

    def price(client: ClientId) -> dict[str, float]:
        work = algorithm.work(*sizes[client])
        flops = analytic_flops(work, setup.model.flops)
        values = (down, up, flops, counted(*sizes[client]), 1)
        return {n: int(v) for n, v in zip(COSTS, values, strict=True)}

    return price
