"""One look for all figures: few lines, direct labels, one colour an algorithm.

Figures are made through matplotlib's object interface, so no global state is touched
and any thread may draw.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from io import BytesIO
from itertools import cycle
from typing import Any, TypeVar

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

Keywords = dict[str, Any]  # arguments of matplotlib

# Okabe and Ito's palette, distinguishable with any colour vision; the baseline is grey.
COLOURS = {
    "FedAvg": "#595959",
    "FedAvg(Meta)": "#D55E00",
    "FedMeta(MAML)": "#0072B2",
    "FedMeta(FOMAML)": "#CC79A7",
    "FedMeta(Meta-SGD)": "#009E73",
}
RIVAL_COLOURS = {
    "Local training": "#999999",
    "FedBABU": "#E69F00",
    "kNN-Per": "#56B4E9",
    "Ditto": "#000000",
    "FedPer": "#8C6D00",
    "FedRep": "#7B3FA0",
    "SCAFFOLD": "#7A1C1C",
}
# Of the recommendation study: a hue says how a model came about, its light shade LR
# and its dark one NN; what learns nothing is grey.
RECOMMENDER_COLOURS = {
    "MFU": "#999999",
    "MRU": "#000000",
    "NB": "#666666",
    "LR": "#E69F00",
    "NN": "#D55E00",
    "NN-unified": "#CC79A7",
    "MAML + LR": "#56B4E9",
    "Meta-SGD + LR": "#2FAE85",
    "MAML + NN": "#0072B2",
    "Meta-SGD + NN": "#00573F",
}
# Of the study of Per-FedAvg: its exact and first-order gradients are those of MAML.
PERFEDAVG_COLOURS = {
    "FedAvg + update": "#595959",
    "Per-FedAvg (FO)": "#CC79A7",
    "Per-FedAvg (HF)": "#009E73",
    "Per-FedAvg (exact)": "#0072B2",
}
OTHER_COLOURS = ["#E69F00", "#56B4E9", "#000000", "#8C6D00"]
INK, FAINT, WORSE = "#222222", "#dddddd", "#D55E00"
LABEL_SIZE, SMALL_SIZE = 10, 9
T = TypeVar("T")


class PlainFigure(Figure):
    """A figure that draws texts as they stand: ``$in_$out.csv`` is no formula."""

    def draw(self, renderer: Any) -> None:
        """As matplotlib does, after all texts are there."""
        for text in self.findobj(Text):
            text.set_parse_math(False)
        super().draw(renderer)

    def _repr_png_(self) -> bytes:
        """Shown by notebooks, which know the figures of pyplot alone."""
        file = BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


def colours_of(labels: Iterable[str]) -> dict[str, str]:
    """A colour for every label; the known algorithms always keep theirs."""
    known = COLOURS | RIVAL_COLOURS | RECOMMENDER_COLOURS | PERFEDAVG_COLOURS
    others = cycle(OTHER_COLOURS)
    return {label: known.get(label) or next(others) for label in labels}


def shades(labels: Sequence[Hashable]) -> dict[Hashable, str]:
    """Colours for the values of a quantity in rising order, from dark to light."""
    # beyond 0.7 this scale is too pale for words on white
    places = np.linspace(0.0, 0.7, len(labels))
    colours = [to_hex(colour) for colour in colormaps["plasma"](places)]
    return dict(zip(labels, colours, strict=True))


def panels(
    groups: Mapping[str, T],
    title: str,
    size: tuple[float, float],
    x: str = "",
    nothing: str = "",
    *,
    share_y: bool = False,
    rows: int = 1,
) -> tuple[Figure, list[tuple[Axes, str, T]]]:
    """A figure of a panel a group, in equal rows; each panel with its title and group.

    Args:
        size: in inches.
        x: what is on the horizontal axes.
        nothing: said in the one panel where there is no group.
        share_y: whether all panels have one vertical axis.
    """
    figure = PlainFigure(figsize=size, dpi=120, layout="constrained", facecolor="white")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    columns = max(len(groups), 1) // rows
    axes = list(figure.subplots(rows, columns, squeeze=False, sharey=share_y).flat)
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["left", "bottom"]].set_color("#888888")
        panel.tick_params(colors=INK, labelsize=SMALL_SIZE, color="#888888")
        panel.grid(color=FAINT, linewidth=0.7)
        panel.set_axisbelow(True)
    found = [(p, *g) for p, g in zip(axes, groups.items(), strict=False)]
    for panel, name, _ in found:
        panel.set_title(name, fontsize=LABEL_SIZE, loc="left", color=INK)
        panel.set_xlabel(x, fontsize=LABEL_SIZE)
    if not found:
        say(figure.axes[0], nothing)
    return figure, found


def write_beside(panel: Axes, text: str, x: float, y: float, **style: Any) -> None:
    """Write a little right of a point, in data units."""
    own = {"fontsize": SMALL_SIZE, "color": INK, "va": "center", **style}
    panel.annotate(text, (x, y), (7, 0), textcoords="offset points", **own)


def say(panel: Axes, text: str) -> None:
    """Write a message where there is nothing to draw."""
    middle: Keywords = {"ha": "center", "va": "center", "transform": panel.transAxes}
    panel.text(0.5, 0.5, text, color=INK, **middle)


def label_ends(panel: Axes, ends: Sequence[tuple[str, str, float]]) -> None:
    """Write (text, colour, y in data units) right of the panel without overlaps."""
    panel.autoscale_view()
    to_fraction = panel.transData + panel.transAxes.inverted()
    x = panel.get_xlim()[1]
    heights = [to_fraction.transform((x, y))[1] for _, _, y in ends]
    for (text, colour, _), height in zip(ends, spaced(heights, 0.055), strict=True):
        style: Keywords = {"color": colour, "fontsize": SMALL_SIZE, "va": "center"}
        style |= {"fontweight": "bold", "transform": panel.transAxes}
        panel.text(1.015, height, text, **style)


def spaced(heights: Sequence[float], gap: float) -> list[float]:
    """Heights in [0, 1], moved apart to about ``gap``, as little as possible."""
    order = sorted(range(len(heights)), key=heights.__getitem__)
    placed = [heights[i] for i in order]
    for _ in range(200):  # pushing neighbours apart settles long before
        for i in range(1, len(placed)):
            push = max(0.0, gap - (placed[i] - placed[i - 1])) / 2
            placed[i - 1] -= push
            placed[i] += push
        if placed:
            placed[0], placed[-1] = max(placed[0], 0.02), min(placed[-1], 1.0)
    return [height for _, height in sorted(zip(order, placed, strict=True))]
