"""A recommendation study small enough to do the sums by hand."""

import pandas as pd

from fedmeta.pipelines.recommendation.methods import METHODS, PAPER
from fedmeta.reporting.results import Run, tidy
from fedmeta.studies.recommendation import parameters

SIZES = parameters({"lr": 4_160, "nn": 9_256, "unified": 918_452})


def results(scores, histories={}, methods=METHODS, source="sample", seeds=(0,)):
    """The tidy tables of some methods' scores and histories, the same for each seed."""
    runs = []
    for seed in seeds:
        for name, method in methods.items():
            own = {"method": name, "label": method.label, "kind": method.kind}
            found = scores.get(name), histories.get(name)
            runs.append((name, Run({**own, "seed": seed}, *found)))
    return tidy(runs, source)


def only(*names):
    """Some of the methods."""
    return {name: METHODS[name] for name in names}


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


def halves(percent):
    """Hits of two users of 5,000 records each."""
    whole = round(100 * percent)
    return [whole // 2, whole - whole // 2]


def paper_scores():
    """Two users of 5,000 records each whose pooled accuracies are the paper's."""
    parts = {}
    for (name, steps), by_fraction in PAPER.items():
        for fraction, (one, four) in by_fraction.items():
            made = make_scores(halves(one), halves(four), 5_000, fraction, steps)
            parts.setdefault(name, []).append(made)
    return {name: pd.concat(rows, ignore_index=True) for name, rows in parts.items()}


def make_history(top1, top4):
    """A row each 1,000 episodes."""
    return pd.DataFrame(
        {
            "round": [1_000 * i for i in range(len(top1))],
            "validation_accuracy_after": top1,
            "validation_top4_after": top4,
        }
    )
