"""Reptile (Nichol et al. 2018, arXiv 1803.02999), as Jiang et al. 2019 use it.

FedAvg is Reptile and the other way round: with g_j the gradient of the j-th of K local
steps, a client moves the model by

    theta - theta_K = eta (g_1 + ... + g_K),

FedSGD's gradient g_1 and those of first-order MAML after 1 .. K - 1 inner steps. The
training is FedAvg's with K steps for epochs; what makes it meta-learning is that a
client personalises the model by the steps that it was trained for.
"""

from fedmeta.core.algorithms.fedavg import FineTuning, fedavg
from fedmeta.core.bounds import Count
from fedmeta.core.gradients import Loss
from fedmeta.core.optimizers import Optimizer, sgd
from fedmeta.core.types import Algorithm


def reptile(
    loss: Loss,
    *,
    local: Optimizer,
    steps: Count,
    batch_size: Count | None = 10,
    adapt_epochs: Count = 1,
    server: Optimizer = sgd(1.0),
    weights: str = "uniform",
    chunk: Count | None = None,
) -> Algorithm:
    """Move the initialisation towards what clients make of it in K steps.

    Args:
        loss: mean loss of a batch.
        local: a client's optimiser, in training and in personalising; starts fresh.
        steps: K, local steps a round, each on a batch drawn anew.
        batch_size: records a step; None: all.
        adapt_epochs: passes over the support set by which a client personalises.
        server: applied to the mean of (theta - locally trained theta).
        weights: a client's share in that mean, a name of `WEIGHTS`.
        chunk: records differentiated at once; bounds memory, changes nothing.
    """
    return fedavg(
        loss,
        local=local,
        steps=steps,
        batch_size=batch_size,
        fine_tuning=FineTuning(local, adapt_epochs, batch_size),
        server=server,
        weights=weights,
        chunk=chunk,
    )
