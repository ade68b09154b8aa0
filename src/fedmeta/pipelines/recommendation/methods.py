"""The methods of Table 3 (Chen et al. 2018): the table that the study is made from.

To add a federated one: a line here, and a block of its name in the parameters file.
"""

from typing import NamedTuple


class Method(NamedTuple):
    """A way to recommend.

    Attributes:
        label: such as "Meta-SGD + NN".
        kind: "alone" (one user's own records), "mixed" (all users' records in one
            place) or "meta" (federated).
        model: whose parameters are counted, in the block "models" or "unified"; None
            if it has none.
        algorithm: of a federated one, in `ALGORITHMS`, else ""; the block of its name
            has its options.
        copies: of the model's parameters, as the paper counts algorithm and model.
    """

    label: str
    kind: str
    model: str | None = None
    algorithm: str = ""
    copies: int = 1


METHODS: dict[str, Method] = {
    "mfu": Method("MFU", "alone"),
    "mru": Method("MRU", "alone"),
    "nb": Method("NB", "alone"),
    "lr": Method("LR", "alone", "lr"),
    "nn": Method("NN", "alone", "nn"),
    "unified": Method("NN-unified", "mixed", "unified"),
    "maml_lr": Method("MAML + LR", "meta", "lr", "maml", 2),
    "meta_sgd_lr": Method("Meta-SGD + LR", "meta", "lr", "meta_sgd", 3),
    "maml_nn": Method("MAML + NN", "meta", "nn", "maml", 2),
    "meta_sgd_nn": Method("Meta-SGD + NN", "meta", "nn", "meta_sgd", 3),
}
COUNTED = [n for n, m in METHODS.items() if m.model is None]  # from own records
TRAINED = ["lr", "nn"]  # by gradient steps on own records
FEDERATED = {n: m for n, m in METHODS.items() if m.kind == "meta"}
# The paper's accuracies in percent, by method and steps (0: not stated), then support:
# (Top-1, Top-4).
PAPER: dict[tuple[str, int], dict[float, tuple[float, float]]] = {
    ("unified", 0): {0.8: (76.72, 89.13), 0.05: (66.47, 79.88)},
    ("mfu", 0): {0.8: (42.92, 81.49), 0.05: (42.18, 72.87)},
    ("mru", 0): {0.8: (70.44, 81.43), 0.05: (70.44, 81.43)},
    ("nb", 0): {0.8: (78.18, 92.57), 0.05: (59.16, 72.83)},
    ("lr", 100): {0.8: (58.30, 86.52), 0.05: (52.53, 75.25)},
    ("lr", 10_000): {0.8: (78.31, 93.70), 0.05: (65.35, 77.11)},
    ("nn", 100): {0.8: (57.20, 88.37), 0.05: (49.89, 75.26)},
    ("nn", 10_000): {0.8: (83.79, 94.56), 0.05: (68.87, 77.66)},
    ("maml_lr", 100): {0.8: (47.69, 71.60), 0.05: (46.75, 66.26)},
    ("meta_sgd_lr", 100): {0.8: (81.70, 93.56), 0.05: (72.32, 77.94)},
    ("maml_nn", 100): {0.8: (83.87, 94.88), 0.05: (73.08, 78.02)},
    ("meta_sgd_nn", 100): {0.8: (86.23, 96.46), 0.05: (72.98, 78.17)},
}
