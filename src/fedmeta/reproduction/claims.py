"""What the paper says of Table 2 and its figures, and whether it holds here.

The letters are those of the project's own list: (a) FedMeta is above FedAvg everywhere;
(b) FedAvg(Meta) is below FedAvg only for Shakespeare and Sent140 at 20 % support; (c)
FedMeta's lead over FedAvg(Meta) shrinks as the support grows; (d) FedMeta needs fewer
rounds.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.reporting import tables
from fedmeta.reporting.measures import Value, known
from fedmeta.reporting.tables import REACHED
from fedmeta.reporting.verdicts import Claim, Verdict, every, greater
from fedmeta.reporting.wording import flops_text, label_of, percent

BASELINE, FINE_TUNED = label_of(tables.BASELINE), label_of("fedavg_meta")
FEDMETA = (label_of("maml"), label_of("meta_sgd"))  # whose gains the paper states
Paper = Mapping[float, Mapping[str, float]]  # support fraction -> label -> %
Accuracies = Mapping[float, Mapping[str, Value]]  # the same, by seed
# By what they are of: in words, and what each decides.
Figures = dict[Any, list[tuple[str, Verdict | None]]]


def published(paper: Paper) -> Accuracies:
    """The paper's accuracies, as values of one run."""
    return {p: {k: known(x) for k, x in row.items()} for p, row in paper.items()}


def lead(accuracies: Accuracies, label: str, base: str) -> dict[float, Value]:
    """By how many points one is above another, where there are both."""
    return {
        p: row[label] - row[base]
        for p, row in sorted(accuracies.items())
        if label in row and base in row
    }


def gains(accuracies: Accuracies) -> dict[tuple[str, float], Value]:
    """FedMeta's accuracy less FedAvg's, in points, by (label, support fraction)."""
    return {
        (label, p): gain
        for label in FEDMETA
        for p, gain in lead(accuracies, label, BASELINE).items()
    }


def paper_gains() -> list[float]:
    """The gains of the paper's Table 2: its abstract states the least and the most."""
    return [
        float(gain)
        for b in BENCHMARKS.values()
        for gain in gains(published(b.table2)).values()
    ]


def headline(sources: str, ours: Sequence[Value], theirs: Sequence[float]) -> str:
    """The range of FedMeta's gains over FedAvg, computed as the paper's abstract does.

    Args:
        sources: what our data are.
        ours: gains in points: MAML's and Meta-SGD's, all support fractions, all data.
    """
    paper = f"the paper's is {_range(theirs)}, over {len(theirs)} cells"
    lost = sum(bool(gain.diverged) for gain in ours)
    points = [float(gain) for gain in ours if not gain.diverged]
    paper += f"; of {lost} more, a training diverged" if lost else ""
    if not points:
        return f"FedMeta's gain over FedAvg is not measured on {sources}; {paper}."
    return (
        f"FedMeta's gain over FedAvg on {sources} is {_range(points)} points, over "
        f"{len(points)} cell{'s' * (len(points) > 1)} of Table 2; {paper}."
    )


def above_baseline(accuracies: Accuracies, fractions: Sequence[float]) -> Claim:
    """(a) FedMeta is above FedAvg at every support fraction.

    Args:
        accuracies: ours after adaptation.
        fractions: all that are asked for; of those not measured it is said so.
    """
    found: Figures = {p: [] for p in fractions}
    for (label, p), gain in gains(accuracies).items():
        found[p].append((f"{label} {gain:+.2f}", greater(gain, 0)))
    where = _percent_list(p for p in fractions if found[p])
    return _claim(f"(a) FedMeta is above FedAvg{where}", found)


def fine_tuning(
    accuracies: Accuracies, paper: Paper, fractions: Sequence[float]
) -> Claim:
    """(b) Fine-tuning FedAvg's model helps where it helps in the paper."""
    theirs = lead(published(paper), FINE_TUNED, BASELINE)
    expected = {p: float(theirs[p]) for p in fractions if p in theirs}
    ours = lead(accuracies, FINE_TUNED, BASELINE)
    found: Figures = {p: [] for p in expected}
    for p in expected.keys() & ours.keys():
        text = f"{ours[p]:+.2f} (paper {expected[p]:+.2f})"
        found[p] = [(text, greater(ours[p] * expected[p], 0))]  # the same sign
    shown = {p: expected[p] for p in expected if found[p]} or expected
    below = _percent_list(p for p, points in shown.items() if points < 0)
    above = _percent_list(p for p, points in shown.items() if points >= 0)
    sides = [f"below it{below}"] * bool(below) + [f"above it{above}"] * bool(above)
    return _claim(f"(b) FedAvg(Meta), beside FedAvg, is {' and '.join(sides)}", found)


def shrinking_lead(accuracies: Accuracies) -> Claim:
    """(c) FedMeta's lead over FedAvg(Meta) shrinks from the least to the most support.

    The paper's leads do not all shrink from each fraction to the next.
    """
    found: Figures = {}
    ends: list[float] = []
    for label in FEDMETA:
        leads = lead(accuracies, label, FINE_TUNED)
        found[label] = [(f"{x:+.2f} at {percent(p)}", None) for p, x in leads.items()]
        if len(leads) > 1:
            first, last = min(leads), max(leads)
            ends += [first, last]
            held = greater(leads[first], leads[last])
            found[label][-1] = found[label][-1][0], held
    where = (
        f" from {percent(min(ends))} to {percent(max(ends))} support" if ends else ""
    )
    return _claim(f"(c) FedMeta's lead over FedAvg(Meta) shrinks{where}", found)


def fewer_rounds(
    overheads: Mapping[float, pd.DataFrame],
    rounds: Accuracies,
    fractions: Sequence[float],
) -> Claim:
    """(d) FedMeta reaches the target accuracy in fewer rounds than FedAvg.

    Args:
        overheads: ``overhead_table`` by support fraction.
        rounds: to the target; infinite where it was not reached.
    """
    found: Figures = {p: [] for p in fractions}
    target = " the target"
    for p, table in overheads.items():
        cost = table.set_index("algorithm")
        labels = [label for label in FEDMETA if label in cost.index]
        if BASELINE in cost.index and labels:
            target = f" {cost['target'].iloc[0]:g} % validation accuracy"
            base = rounds[p][BASELINE]
            found[p] = [
                (
                    f"{k} {_rounds(cost.loc[k])}",
                    None if k == BASELINE else greater(base, rounds[p][k]),
                )
                for k in (BASELINE, *labels)
            ]
    return _claim(f"(d) FedMeta reaches{target} in fewer rounds than FedAvg", found)


def _claim(claim: str, found: Figures) -> Claim:
    """All figures behind what they are of, and one verdict on those that decide."""
    figures = "; ".join(
        f"{of if isinstance(of, str) else percent(of)}: "
        f"{', '.join(text for text, _ in own) or 'not measured'}"
        for of, own in found.items()
    )
    verdicts = [v for own in found.values() for _, v in own if v is not None]
    return Claim(claim, figures, every(verdicts))


def _rounds(row: pd.Series) -> str:
    """ "120 rounds, 2.50 TFLOP": a round of one costs more than one of another."""
    if row["outcome"] != REACHED:
        return row["outcome"]
    return f"{row['rounds']:,} rounds, {flops_text(row['flops'])}"


def _range(values: Sequence[float]) -> str:
    return f"{min(values):+.2f} to {max(values):+.2f}"


def _percent_list(fractions: Iterable[float]) -> str:
    texts = [percent(p) for p in sorted(fractions)]
    if not texts:
        return ""
    *most, last = texts
    return f" at {', '.join(most)} and {last}" if most else f" at {last}"
