"""A recommendation study small enough to do the sums by hand."""

import pandas as pd

from fedmeta.reporting import recommendation_figures
from fedmeta.reporting.recommendation_tables import PAPER, Method
from fedmeta.reporting.results import Run, tidy

METHODS = [
    Method("unified", "NN-unified", "mixed", 918_452),
    Method("mfu", "MFU", "alone", None),
    Method("mru", "MRU", "alone", None),
    Method("nb", "NB", "alone", None),
    Method("lr", "LR", "alone", 4_160),
    Method("nn", "NN", "alone", 9_256),
    Method("maml_lr", "MAML + LR", "meta", 8_320),
    Method("meta_sgd_lr", "Meta-SGD + LR", "meta", 12_480),
    Method("maml_nn", "MAML + NN", "meta", 18_512),
    Method("meta_sgd_nn", "Meta-SGD + NN", "meta", 27_768),
]


def make_scores(top1, top4, num_query=100, fraction=0.8, steps=0):
    """A row a user, named a, b, c..., at one support fraction and number of steps."""
    rows = pd.DataFrame({"top1": top1, "top4": top4})
    return pd.DataFrame(
        {
            "client_id": [chr(ord("a") + i) for i in range(len(rows))],
            "support_fraction": fraction,
            "steps": steps,
            "num_support": 4,
            "num_query": num_query,
            **rows,
        }
    )


def paper_scores():
    """Two users of 5,000 records each whose pooled accuracies are the paper's."""
    scores = {}
    for method in METHODS:
        parts = []
        for (name, steps), by_fraction in PAPER.items():
            for fraction, percents in by_fraction.items():
                if name == method.id:
                    one, four = (round(100 * percent) for percent in percents)
                    parts.append(
                        make_scores(
                            [one // 2, one - one // 2],
                            [four // 2, four - four // 2],
                            5_000,
                            fraction,
                            steps,
                        )
                    )
        scores[method.label] = pd.concat(parts, ignore_index=True)
    return scores


def make_history(top1, top4):
    """A row each 1,000 episodes."""
    return pd.DataFrame(
        {
            "round": [1_000 * i for i in range(len(top1))],
            "validation_accuracy_after": top1,
            "validation_top4_after": top4,
        }
    )


def episode_curves(histories):
    """The figure of histories by label."""
    found = {k: tidy([(k, Run({}, history=h))], "sample") for k, h in histories.items()}
    return recommendation_figures.episode_curves(found, "sample")
