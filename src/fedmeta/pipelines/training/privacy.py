"""Differential privacy of a training: its noise, its epsilon, what is said of both.

Epsilon is that of opacus's RDP accountant (Mironov et al. 2019, arXiv 1908.10530) for
Poisson sampling, which draws the cohorts of a private training.
"""

import logging
from functools import cache

from fedmeta.checkpoints import Checkpoint
from fedmeta.core.privacy import noise_to_signal, private
from fedmeta.core.trees import tree_leaves
from fedmeta.core.types import Algorithm, MetaParams
from fedmeta.data.tasks import NOISE_STREAM, stream
from fedmeta.pipelines.options import TrainingOptions

log = logging.getLogger(__name__)


class Privacy:
    """What training.privacy asks for; where that is null, nothing is done.

    Args:
        called: the training, in the log.
        training: its options.
        clients: number of training clients.
        start: the checkpoint that it starts from, if any.

    Raises:
        ValueError: if that has spent an epsilon that is not counted here.
    """

    def __init__(
        self,
        called: str,
        training: TrainingOptions,
        clients: int,
        start: Checkpoint | None = None,
    ) -> None:
        self._called, self._training, self._options = called, training, training.privacy
        self._rate = training.clients_per_round / clients
        self._delta = (self._options and self._options.delta) or clients**-1.1
        if self._options and start:
            raise ValueError(
                f"{called}: privacy counts the rounds of one training, and this one"
                " starts from another on the same clients; set training.privacy to null"
            )

    def protected(self, algorithm: Algorithm) -> Algorithm:
        """The algorithm, with clipped updates and noise."""
        if self._options is None:
            return algorithm
        seed = self._training.seed
        return private(
            algorithm,
            clip=self._options.clip,
            noise_multiplier=self._options.noise_multiplier,
            cohort=self._training.clients_per_round,
            noise=lambda number: stream(seed, NOISE_STREAM, number),
        )

    def spent(self, rounds: int) -> dict[str, float]:
        """Columns of a history: epsilon, after so many rounds, and its delta."""
        if self._options is None:
            return {}
        sampled = self._options.noise_multiplier, self._rate, rounds
        return {"epsilon": epsilon(*sampled, self._delta), "delta": self._delta}

    def tell(self, number: int) -> None:
        """Log the epsilon after a round."""
        if spent := self.spent(number):
            log.info(
                "%s, round %d of %d: epsilon %.2f at delta %.1e for each client",
                self._called,
                number,
                self._training.rounds,
                *spent.values(),
            )

    def warn_of_noise(self, sent: MetaParams) -> None:
        """Log how large the noise is, where it exceeds the mean that it is added to.

        Args:
            sent: what an update is of.
        """
        if self._options is None:
            return
        size = sum(leaf.numel() for leaf in tree_leaves(sent))
        cohort = self._training.clients_per_round
        ratio = noise_to_signal(size, self._options.noise_multiplier, cohort)
        if ratio > 1:
            log.warning(
                "%s: the noise of a round is %.3g times as long as a mean of clipped"
                " updates can be (parameters: %s, clients a round: %d), so that little"
                " will be learned: take a smaller model or more clients a round",
                self._called,
                ratio,
                f"{size:,}",
                cohort,
            )


@cache
def epsilon(noise_multiplier: float, rate: float, rounds: int, delta: float) -> float:
    """Epsilon at ``delta`` of all that clients contribute to in so many rounds.

    Args:
        noise_multiplier: standard deviation of the noise on a round's sum, in clips.
        rate: probability that a client takes part in a round.
        rounds: their number.
        delta: probability with which epsilon may be exceeded, roughly.
    """
    if not rounds:
        return 0.0
    from opacus.accountants import RDPAccountant  # noqa: PLC0415  # takes seconds

    accountant = RDPAccountant()
    accountant.history = [(noise_multiplier, rate, rounds)]
    return float(accountant.get_epsilon(delta))
