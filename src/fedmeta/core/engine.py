"""The round loop: broadcast, client work, aggregation, the server's step."""

from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor

from fedmeta.core.trees import weighted_mean
from fedmeta.core.types import (
    Algorithm,
    ClientId,
    ForEachClient,
    MetaParams,
    ServerState,
)


def run_rounds(
    algorithm: Algorithm,
    state: ServerState,
    cohorts: Iterable[Sequence[ClientId]],
    for_each_client: ForEachClient,
) -> Iterator[tuple[int, ServerState, dict[str, Tensor]]]:
    """Yield (round, state after it, training metrics of its clients).

    Args:
        algorithm: whose ``server_update`` is applied.
        state: where to start, or to go on: its ``round`` is the last finished one.
        cohorts: the clients of each coming round.
        for_each_client: a backend's map of ``algorithm.client_update``.

    What happens between rounds is the caller's ``for`` body. Metrics are name -> [2]
    (sum, count).
    """
    for round_number, cohort in enumerate(cohorts, start=state.round + 1):
        metrics: dict[str, Tensor] = {}

        def streamed(
            cohort=cohort, number=round_number, metrics=metrics, meta=state.meta
        ) -> Iterator[tuple[Tensor, MetaParams]]:
            for _, output in for_each_client(meta, cohort, number):
                for name, value in output.metrics.items():
                    metrics[name] = metrics.get(name, 0.0) + value
                yield output.weight, output.update

        state = algorithm.server_update(state, weighted_mean(streamed()))
        yield round_number, state, metrics
