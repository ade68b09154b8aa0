"""The methods of Table 3 (Chen et al. 2018): the table that the study is made from.

To add a federated one: a line here, and a block of its name in the parameters file.
"""

from collections.abc import Mapping
from typing import NamedTuple

from fedmeta.reporting.recommendation_tables import Method

COUNTED = {"mfu": "MFU", "mru": "MRU", "nb": "NB"}  # from a test user's records alone
TRAINED = {"lr": "LR", "nn": "NN"}  # by gradient steps on a test user's records alone


class Federated(NamedTuple):
    """An algorithm and the model that it trains."""

    label: str
    algorithm: str  # in `ALGORITHMS`; the block of the method's name has its options
    model: str  # in the block "models"
    copies: int  # of the model's parameters, as the paper counts algorithm and model


FEDERATED: dict[str, Federated] = {
    "maml_lr": Federated("MAML + LR", "maml", "lr", 2),
    "meta_sgd_lr": Federated("Meta-SGD + LR", "meta_sgd", "lr", 3),
    "maml_nn": Federated("MAML + NN", "maml", "nn", 2),
    "meta_sgd_nn": Federated("Meta-SGD + NN", "meta_sgd", "nn", 3),
}
METHODS = (*COUNTED, *TRAINED, "unified", *FEDERATED)


def described(parameters: Mapping[str, int]) -> list[Method]:
    """The methods in the order of the report.

    Args:
        parameters: of the models "lr", "nn" and "unified".
    """
    counted = [Method(name, label, "alone", None) for name, label in COUNTED.items()]
    trained = [
        Method(name, label, "alone", parameters[name])
        for name, label in TRAINED.items()
    ]
    federated = [
        Method(name, method.label, "meta", method.copies * parameters[method.model])
        for name, method in FEDERATED.items()
    ]
    mixed = Method("unified", "NN-unified", "mixed", parameters["unified"])
    return [*counted, *trained, mixed, *federated]
