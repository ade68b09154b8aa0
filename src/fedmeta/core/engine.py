"""The round loop: broadcast, client work, aggregation, the server's step."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from fedmeta.core.trees import is_finite
from fedmeta.core.types import (
    Algorithm,
    ClientId,
    ClientOutput,
    Diverged,
    Divergence,
    ForEachClient,
    MetaParams,
    Params,
    ServerState,
)


def run_rounds(
    algorithm: Algorithm,
    state: ServerState,
    cohorts: Iterable[Sequence[ClientId]],
    for_each_client: ForEachClient,
    skip_nonfinite: bool = False,
    keep: Callable[[ClientId, int, Params], None] | None = None,
) -> Iterator[tuple[int, ServerState, dict[str, Tensor]]]:
    """Yield (round, state after it, training metrics of its clients).

    Args:
        algorithm: whose ``aggregate`` and ``server_update`` are applied.
        state: where to start, or to go on: its ``round`` is the last finished one.
        cohorts: the clients of each coming round.
        for_each_client: a backend's map of ``algorithm.client_update``.
        skip_nonfinite: leave out clients whose output is not finite, and go on.
        keep: stores what a client keeps after a round, for the tasks of later rounds:
            (client, round, state). None: clients keep nothing.

    What happens between rounds is the caller's ``for`` body. Metrics are name -> [2]
    (sum, count), none of a round without clients; where clients may be left out,
    "skipped_clients" is one.

    Raises:
        Diverged: where a client's output is not finite (with ``skip_nonfinite``: that
            of all clients of a round), or the server's new state. A state that was
            yielded is finite.
    """

    def streamed(
        meta: MetaParams,
        cohort: Sequence[ClientId],
        number: int,
        metrics: dict[str, Tensor],
        skipped: list[Divergence],
    ) -> Iterator[tuple[Tensor, MetaParams]]:
        # A backend may wait for clients, and there may be none in the cohort.
        outputs = for_each_client(meta, cohort, number) if cohort else ()
        for client, output in outputs:
            cause = _nonfinite(output) if skip_nonfinite or keep else None
            if cause is not None and not skip_nonfinite:
                raise Diverged(Divergence(number, client, cause))
            if cause is not None:
                skipped.append(Divergence(number, client, cause))
                continue
            for name, value in output.metrics.items():
                metrics[name] = metrics[name] + value if name in metrics else value
            if keep is not None:
                keep(client, number, output.state)
            yield output.weight, output.update
        if skipped and len(skipped) == len(cohort):
            raise Diverged(skipped[0])

    for round_number, cohort in enumerate(cohorts, start=state.round + 1):
        metrics: dict[str, Tensor] = {}
        skipped: list[Divergence] = []
        update = algorithm.aggregate(
            state, streamed(state.meta, cohort, round_number, metrics, skipped)
        )
        if not skip_nonfinite and not is_finite([update, metrics]):
            again = for_each_client(state.meta, cohort, round_number)
            raise Diverged(_first_nonfinite(again, round_number))
        state = algorithm.server_update(state, update)
        del update  # a model less is held while the next clients work
        if not is_finite([state.meta, state.opt_state]):
            raise Diverged(Divergence(round_number, "", "new state"))
        if skip_nonfinite:
            counts = [float(len(skipped)), float(len(cohort))]
            metrics["skipped_clients"] = torch.tensor(counts)
        yield round_number, state, metrics


def _first_nonfinite(
    outputs: Iterable[tuple[ClientId, ClientOutput]], round_number: int
) -> Divergence:
    """Find the client whose output made a round's mean non-finite.

    The work of a round is done again for that, since looking at the mean alone costs
    one pass over the model in place of one a client.
    """
    for client, output in outputs:
        cause = _nonfinite(output)
        if cause is not None:
            return Divergence(round_number, client, cause)
    return Divergence(round_number, "", "mean update")


def _nonfinite(output: ClientOutput) -> str | None:
    """Name of the first part of a client's output that is not finite, if any."""
    parts = {"update": output.update, "state": output.state, "weight": output.weight}
    parts |= output.metrics
    return next((name for name, part in parts.items() if not is_finite(part)), None)
