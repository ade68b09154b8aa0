"""What the paper says of Table 2 and its figures, and whether it holds here.

The letters are those of the project's own list: (a) FedMeta is above FedAvg everywhere;
(b) FedAvg(Meta) is below FedAvg only for Shakespeare and Sent140 at 20 % support; (c)
FedMeta's lead over FedAvg(Meta) shrinks as the support grows; (d) FedMeta needs fewer
rounds; (e) accuracies rise with the support; (f) FedMeta needs less traffic, by the
least factor that the abstract states; (g) which algorithm needs the fewest operations;
(h) FOMAML needs fewer than MAML; (i) whether it sends more than MAML or less; (j) how
accuracies are spread over clients.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from fedmeta.benchmarks.benchmark import Said
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.reporting import tables
from fedmeta.reporting.measures import Value, ratio
from fedmeta.reporting.phrases import counted
from fedmeta.reporting.tables import NOT_REACHED
from fedmeta.reporting.verdicts import Claim, Verdict, every, greater
from fedmeta.reporting.wording import bytes_text, flops_text, label_of, percent

BASELINE, FINE_TUNED = label_of(tables.BASELINE), label_of("fedavg_meta")
FEDMETA = (label_of("maml"), label_of("meta_sgd"))  # whose gains the paper states
MAML, FOMAML = label_of("maml"), label_of("fomaml")
LEAST_SAVING = 2.82  # of the paper's "2.82-4.33 times"
Accuracy = TypeVar("Accuracy", float, Value)  # the paper's, or ours by seed
Paper = Mapping[float, Mapping[str, float]]  # support fraction -> label -> %
Accuracies = Mapping[float, Mapping[str, Value]]  # the same, by seed
Costs = Accuracies  # or variances, by support fraction and label
# By what they are of: in words, and what each decides.
Figures = dict[Any, list[tuple[str, Verdict | None]]]


def lead(
    accuracies: Mapping[float, Mapping[str, Accuracy]], label: str, base: str
) -> dict[float, Accuracy]:
    """By how many points one is above another, where there are both."""
    return {
        p: row[label] - row[base]
        for p, row in sorted(accuracies.items())
        if label in row and base in row
    }


def gains(
    accuracies: Mapping[float, Mapping[str, Accuracy]],
) -> dict[tuple[str, float], Accuracy]:
    """FedMeta's accuracy less FedAvg's, in points, by (label, support fraction)."""
    return {
        (label, p): gain
        for label in FEDMETA
        for p, gain in lead(accuracies, label, BASELINE).items()
    }


def paper_gains() -> list[float]:
    """The gains of the paper's Table 2: its abstract states the least and the most."""
    return [gain for b in BENCHMARKS.values() for gain in gains(b.table2).values()]


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
        f"{counted(len(points), 'cell')} of Table 2; {paper}."
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
    theirs = lead(paper, FINE_TUNED, BASELINE)
    expected = {p: theirs[p] for p in fractions if p in theirs}
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
        found[label] = _along(leads, "+.2f", greater)
        if len(leads) > 1:
            ends += [min(leads), max(leads)]
    where = (
        f" from {percent(min(ends))} to {percent(max(ends))} support" if ends else ""
    )
    return _claim(f"(c) FedMeta's lead over FedAvg(Meta) shrinks{where}", found)


def fewer_rounds(rounds: Costs, flops: Costs, goal: str) -> Claim:
    """(d) FedMeta reaches the target accuracy in fewer rounds than FedAvg.

    Args:
        rounds: to the target; infinite where it was not reached.
        flops: likewise; a round of one costs more than one of another.
        goal: the target in words.
    """
    found: Figures = {p: [] for p in rounds}
    for p, needed in rounds.items():
        labels = [label for label in FEDMETA if label in needed]
        if BASELINE in needed and labels:
            base = needed[BASELINE]
            found[p] = [
                (
                    f"{k} {_when(needed[k], flops[p][k])}",
                    None if k == BASELINE else greater(base, needed[k]),
                )
                for k in (BASELINE, *labels)
            ]
    return _claim(f"(d) FedMeta reaches {goal} in fewer rounds than FedAvg", found)


def goal(target: float | None) -> str:
    """An accuracy to reach, a fraction, in words."""
    return "the target" if target is None else f"{100 * target:g} % validation accuracy"


def rising(accuracies: Accuracies) -> Claim:
    """(e) Algorithms that adapt gain from support, from the least to the most of it."""
    found: Figures = {}
    for label in (FINE_TUNED, *FEDMETA):
        own = {p: row[label] for p, row in sorted(accuracies.items()) if label in row}
        found[label] = _along(own, ".2f", lambda least, most: greater(most, least))
    return _claim("(e) Accuracies after adaptation rise with the support", found)


def less_traffic(traffic: Costs, goal: str) -> Claim:
    """(f) FedMeta saves as much traffic as the paper's abstract says at least.

    Args:
        traffic: bytes to the target; infinite where it was not reached.
        goal: the target in words.
    """
    found: Figures = {p: [] for p in traffic}
    for p, cost in traffic.items():
        for label in FEDMETA:
            if {label, BASELINE} <= cost.keys():
                base, own = cost[BASELINE], cost[label]
                text = f"{ratio(float(base), float(own)):.2f} times"
                if np.isinf(float(base)):
                    text = f"open ({BASELINE} {NOT_REACHED})"
                elif not float(own):  # reached before the first round
                    text = "without traffic"
                lost = own.diverged or base.diverged
                held = greater(base, own * LEAST_SAVING)
                found[p].append((f"{label} {lost or text}", held))
    claim = f"(f) FedMeta reaches {goal} with {LEAST_SAVING} times less traffic"
    return _claim(f"{claim} than FedAvg", found)


def as_said(
    flops: Costs, traffic: Costs, variances: Costs, said: Said, goal: str
) -> list[Claim]:
    """(g) to (j): what depends on the data, as the paper says of these.

    Args:
        flops: to the target; infinite where it was not reached.
        traffic: likewise, bytes.
        variances: of the clients' accuracies, in squared points.
        said: what the paper says; of variances perhaps nothing.
        goal: the target in words.
    """
    cheapest, more = label_of(said.cheapest), said.first_order_sends
    drawn = (BASELINE, FOMAML, *FEDMETA)  # in the paper's Figure 3
    others = [label for label in drawn if label != cheapest]
    fewest = f"(g) {cheapest} reaches {goal} with the fewest operations"
    fewer = f"(h) {FOMAML} reaches {goal} with fewer operations than {MAML}"
    sent = f"(i) {FOMAML} reaches {goal} with {more} traffic than {MAML}"
    least, most = (MAML, FOMAML) if more == "more" else (FOMAML, MAML)
    claims = [
        _less(fewest, flops, [cheapest], others, flops_text),
        _less(fewer, flops, [FOMAML], [MAML], flops_text),
        _less(sent, traffic, [least], [most], bytes_text),
    ]
    if said.variance:
        sides: tuple[Sequence[str], ...] = FEDMETA, [BASELINE]
        low, high = sides if said.variance == "lower" else sides[::-1]
        claim = f"(j) FedMeta's accuracies have a {said.variance} variance over clients"
        spread = _less(f"{claim} than FedAvg's", variances, low, high, "{:.0f}".format)
        claims.append(spread)
    return claims


def _less(
    claim: str,
    costs: Costs,
    low: Sequence[str],
    high: Sequence[str],
    text: Callable[[float], str],
) -> Claim:
    """Each of ``low`` costs less than each of ``high``, at every support fraction."""
    found: Figures = {}
    for p, cost in costs.items():
        lower = [cost[label] for label in low if label in cost]
        verdicts = {
            label: every(greater(cost[label], own) for own in lower)
            for label in high
            if label in cost
        }
        found[p] = [
            (f"{label} {_cost(cost[label], text)}", verdicts.get(label))
            for label in (*low, *high)
            if label in cost
        ]
    return _claim(claim, found)


def _along(
    values: Mapping[float, Value],
    form: str,
    held: Callable[[Value, Value], Verdict],
) -> list[tuple[str, Verdict | None]]:
    """Values by support fraction in words; at the last what its two ends decide."""
    told: list[tuple[str, Verdict | None]] = [
        (f"{x:{form}} at {percent(p)}", None) for p, x in values.items()
    ]
    if len(values) > 1:
        told[-1] = told[-1][0], held(values[min(values)], values[max(values)])
    return told


def _claim(claim: str, found: Figures) -> Claim:
    """All figures behind what they are of, and one verdict on those that decide."""
    figures = "; ".join(
        f"{of if isinstance(of, str) else percent(of)}: "
        f"{', '.join(text for text, _ in own) or 'not measured'}"
        for of, own in found.items()
    )
    verdicts = [v for own in found.values() for _, v in own if v is not None]
    return Claim(claim, figures, every(verdicts))


def _when(rounds: Value, flops: Value) -> str:
    """ "120 rounds, 2.50 TFLOP": a round of one costs more than one of another."""
    return _cost(rounds, lambda r: f"{r:,.0f} rounds, {_cost(flops, flops_text)}")


def _cost(value: Value, text: Callable[[float], str]) -> str:
    if value.diverged:
        return value.diverged
    return text(float(value)) if np.isfinite(float(value)) else NOT_REACHED


def _range(values: Sequence[float]) -> str:
    return f"{min(values):+.2f} to {max(values):+.2f}"


def _percent_list(fractions: Iterable[float]) -> str:
    texts = [percent(p) for p in sorted(fractions)]
    if not texts:
        return ""
    *most, last = texts
    return f" at {', '.join(most)} and {last}" if most else f" at {last}"
