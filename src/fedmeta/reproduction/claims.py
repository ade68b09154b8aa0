"""What the paper says of Table 2 and its figures, and whether it holds here.

The letters are those of the project's own list: (a) FedMeta is above FedAvg everywhere;
(b) FedAvg(Meta) is below FedAvg only for Shakespeare and Sent140 at 20 % support; (c)
FedMeta's lead over FedAvg(Meta) shrinks as the support grows; (d) FedMeta needs fewer
rounds.
"""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.reporting import tables
from fedmeta.reporting.measures import Value, known
from fedmeta.reporting.tables import REACHED
from fedmeta.reporting.verdicts import Claim, every, greater
from fedmeta.reporting.wording import flops_text, label_of, percent

BASELINE, FINE_TUNED = label_of(tables.BASELINE), label_of("fedavg_meta")
FEDMETA = (label_of("maml"), label_of("meta_sgd"))  # whose gains the paper states
Paper = Mapping[float, Mapping[str, float]]  # support fraction -> label -> %
Accuracies = Mapping[float, Mapping[str, Value]]  # the same, by seed


def published(paper: Paper) -> Accuracies:
    """The paper's accuracies, as values of one run."""
    return {p: {k: known(x) for k, x in row.items()} for p, row in paper.items()}


def gains(accuracies: Accuracies) -> dict[tuple[str, float], Value]:
    """FedMeta's accuracy less FedAvg's, in points, by (label, support fraction).

    Args:
        accuracies: After adaptation, in percent; what is missing gives no gain.
    """
    return {
        (label, p): row[label] - row[BASELINE]
        for p, row in accuracies.items()
        if BASELINE in row
        for label in FEDMETA
        if label in row
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
        sources: What our data are.
        ours: Gains in points: MAML's and Meta-SGD's, all support fractions, all data.
        theirs: The paper's.
    """
    paper = f"the paper's is {_range(theirs)}, over {len(theirs)} cells"
    lost = sum(bool(gain.diverged) for gain in ours)
    ours = [float(gain) for gain in ours if not gain.diverged]
    paper += f"; of {lost} more, a training diverged" if lost else ""
    if not ours:
        return f"FedMeta's gain over FedAvg is not measured on {sources}; {paper}."
    return (
        f"FedMeta's gain over FedAvg on {sources} is {_range(ours)} points, over "
        f"{len(ours)} cell{'s' * (len(ours) > 1)} of Table 2; {paper}."
    )


def claims(
    accuracies: Accuracies,
    paper: Paper,
    overheads: Mapping[float, pd.DataFrame],
    rounds: Accuracies,
    fractions: Sequence[float],
) -> list[Claim]:
    """Claims (a) to (d) on one data set, over what was measured of it.

    Args:
        accuracies: Ours after adaptation.
        paper: The paper's, which say what is expected of FedAvg(Meta).
        overheads: ``overhead_table`` by support fraction.
        rounds: To reach its target; infinite where it was not reached.
        fractions: All that are asked for; of those not measured it is said so.
    """
    return [
        above_baseline(accuracies, fractions),
        fine_tuning(accuracies, paper, fractions),
        shrinking_lead(accuracies),
        fewer_rounds(overheads, rounds, fractions),
    ]


def above_baseline(accuracies: Accuracies, fractions: Sequence[float]) -> Claim:
    """(a) FedMeta is above FedAvg at every support fraction."""
    ours = gains(accuracies)
    figures = [
        _at(p, [f"{name} {gain:+.2f}" for (name, at), gain in ours.items() if at == p])
        for p in fractions
    ]
    where = _percent_list(p for p in fractions if any(key[1] == p for key in ours))
    return Claim(
        f"(a) FedMeta is above FedAvg{where}",
        "; ".join(figures),
        every(greater(gain, 0) for gain in ours.values()),
    )


def fine_tuning(
    accuracies: Accuracies, paper: Paper, fractions: Sequence[float]
) -> Claim:
    """(b) Fine-tuning FedAvg's model helps where it helps in the paper."""
    theirs = _fine_tuning_gains(published(paper))
    expected = {p: float(gain) for p, gain in theirs.items()}
    ours = {p: v for p, v in _fine_tuning_gains(accuracies).items() if p in expected}
    shown = ours or expected
    sides = [
        f"{side} it{_percent_list(p for p in shown if (expected[p] < 0) == below)}"
        for side, below in (("below", True), ("above", False))
        if any((expected[p] < 0) == below for p in shown)
    ]
    figures = [
        _at(p, [f"{ours[p]:+.2f} (paper {expected[p]:+.2f})"] if p in ours else [])
        for p in fractions
        if p in expected
    ]
    return Claim(
        f"(b) FedAvg(Meta), beside FedAvg, is {' and '.join(sides)}",
        "; ".join(figures),
        every(greater(ours[p] * expected[p], 0) for p in ours),  # the same sign
    )


def shrinking_lead(accuracies: Accuracies) -> Claim:
    """(c) FedMeta's lead over FedAvg(Meta) shrinks from the least to the most support.

    The paper's leads do not all shrink from each fraction to the next.
    """
    held, figures, ends = [], [], set()
    for label in FEDMETA:
        leads = {
            p: row[label] - row[FINE_TUNED]
            for p, row in sorted(accuracies.items())
            if label in row and FINE_TUNED in row
        }
        if len(leads) > 1:
            ends |= {min(leads), max(leads)}
            held.append(greater(leads[min(leads)], leads[max(leads)]))
        shown = ", ".join(f"{lead:+.2f} at {percent(p)}" for p, lead in leads.items())
        figures.append(f"{label}: {shown or 'not measured'}")
    where = (
        f" from {percent(min(ends))} to {percent(max(ends))} support" if ends else ""
    )
    return Claim(
        f"(c) FedMeta's lead over FedAvg(Meta) shrinks{where}",
        "; ".join(figures),
        every(held),
    )


def fewer_rounds(
    overheads: Mapping[float, pd.DataFrame],
    rounds: Accuracies,
    fractions: Sequence[float],
) -> Claim:
    """(d) FedMeta reaches the target accuracy in fewer rounds than FedAvg."""
    held, figures, target = [], [], ""
    for p in fractions:
        table = overheads.get(p, pd.DataFrame({"algorithm": []})).set_index("algorithm")
        if BASELINE not in table.index or not set(FEDMETA) & set(table.index):
            figures.append(_at(p, []))
            continue
        target = f" {table['target'].iloc[0]:g} % validation accuracy"
        for label in FEDMETA:
            if label in table.index:
                held.append(greater(rounds[p][BASELINE], rounds[p][label]))
        names = [label for label in (BASELINE, *FEDMETA) if label in table.index]
        figures.append(_at(p, [f"{n} {_rounds(table.loc[n])}" for n in names]))
    return Claim(
        f"(d) FedMeta reaches{target or ' the target'} in fewer rounds than FedAvg",
        "; ".join(figures),
        every(held),
    )


def _rounds(row: pd.Series) -> str:
    """ "120 rounds, 2.50 TFLOP": a round of one costs more than one of another."""
    if row["outcome"] != REACHED:
        return row["outcome"]
    return f"{row['rounds']:,} rounds, {flops_text(row['flops'])}"


def _fine_tuning_gains(accuracies: Accuracies) -> dict[float, Value]:
    return {
        p: row[FINE_TUNED] - row[BASELINE]
        for p, row in accuracies.items()
        if FINE_TUNED in row and BASELINE in row
    }


def _range(values: Sequence[float]) -> str:
    return f"{min(values):+.2f} to {max(values):+.2f}"


def _at(fraction: float, figures: Sequence[str]) -> str:
    return f"{percent(fraction)}: {', '.join(figures) or 'not measured'}"


def _percent_list(fractions: Iterable[float]) -> str:
    texts = [percent(p) for p in sorted(fractions)]
    if not texts:
        return ""
    *most, last = texts
    return f" at {', '.join(most)} and {last}" if most else f" at {last}"
