"""Figures draw what the tables say, over seeds."""

import numpy as np
import pytest
from made_up_runs import history, recorded, scores

from fedmeta.reporting.figures import accuracy_curves, client_density, loss_curves
from fedmeta.reporting.results import Run, tidy

LABELS = {"FedAvg": "fedavg", "FedMeta(MAML)": "maml"}


def results(algorithms=("fedavg", "maml"), fractions=(0.2, 0.5, 0.9), rounds=2000):
    cells = [
        (
            name,
            Run(
                {"support_fraction": p, "seed": seed},
                scores(recorded(name, p, seed, 0.8 + seed / 100)),
                history(name, seed, rounds),
            ),
        )
        for name in algorithms
        for p in fractions
        for seed in range(2)
    ]
    return tidy(cells, "FEMNIST")


def texts(figure):
    panels = [panel.get_title(loc="left") for panel in figure.axes]
    return [figure.get_suptitle(), *panels]


def test_a_panel_a_support_fraction():
    figure = accuracy_curves(results(), target=0.74)
    assert texts(figure) == [
        "Validation accuracy by round · FEMNIST",
        "20 % support, 2 seeds",
        "50 % support, 2 seeds",
        "90 % support, 2 seeds",
    ]
    (legend,) = figure.legends
    named = [text.get_text() for text in legend.get_texts()]
    assert named == [*LABELS, "after adaptation", "before"]
    assert "target 74%" in [text.get_text() for text in figure.axes[0].texts]
    assert len({panel.get_ylim() for panel in figure.axes}) == 1


def test_line_is_the_mean_and_band_a_deviation():
    curves = [history("maml", s)["validation_accuracy_after"] for s in range(2)]
    panel = accuracy_curves(results(["maml"], [0.2])).axes[0]
    assert panel.lines[0].get_ydata() == pytest.approx(np.mean(curves, axis=0))
    top = panel.collections[0].get_paths()[0].vertices[:, 1].max()
    highest = np.mean(curves, axis=0) + np.std(curves, axis=0, ddof=1)
    assert top == pytest.approx(highest.max())


def test_loss_of_validation_above_that_of_training():
    figure = loss_curves(results())
    assert len(figure.axes) == 6
    assert {panel.get_yscale() for panel in figure.axes} == {"log"}
    assert "validation" in figure.axes[0].get_ylabel()
    assert "training" in figure.axes[3].get_ylabel()
    limits = [panel.get_ylim() for panel in figure.axes]
    assert len({*limits[:3]}) == len({*limits[3:]}) == 1


def test_density_is_over_the_clients_of_all_seeds():
    panel = client_density(results(["maml"], [0.2])).axes[0]
    assert panel.lines[1].get_xdata()[0] == pytest.approx((0.80 + 0.81) / 2)
    (label,) = panel.get_legend().get_texts()
    assert label.get_text() == "FedMeta(MAML), mean 80.5%"


@pytest.mark.parametrize("draw", [accuracy_curves, loss_curves, client_density])
def test_nothing_recorded(draw):
    said = draw(tidy([], "FEMNIST")).axes[0].texts[0].get_text()
    assert said in ("no round has been evaluated", "no test client")


def test_one_round():
    only = results(["maml"], [0.2], rounds=0)
    accuracy_curves(only).canvas.draw()
    loss_curves(only).canvas.draw()
