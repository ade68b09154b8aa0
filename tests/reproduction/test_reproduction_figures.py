"""Figures draw what the frames say, over seeds."""

import numpy as np
import pytest
from made_up_runs import history, scores

from fedmeta.reproduction.figures import accuracy_bands, client_density, loss_bands

LABELS = {"FedAvg": "fedavg", "FedMeta(MAML)": "maml"}


@pytest.fixture
def histories():
    return {
        p: {
            label: [history(name, s) for s in range(2)]
            for label, name in LABELS.items()
        }
        for p in (0.2, 0.5)
    }


def texts(figure):
    panels = [panel.get_title(loc="left") for panel in figure.axes]
    return [figure.get_suptitle(), *panels]


def test_a_panel_a_support_fraction(histories):
    figure = accuracy_bands(histories, "FEMNIST", target=0.74)
    assert texts(figure) == [
        "Validation accuracy by round · FEMNIST",
        "20 % support, 2 seeds",
        "50 % support, 2 seeds",
    ]
    (legend,) = figure.legends
    named = [text.get_text() for text in legend.get_texts()]
    assert named == [*LABELS, "after adaptation", "before", "target 74 %"]


def test_line_is_the_mean_and_band_a_deviation(histories):
    one, other = histories[0.2]["FedMeta(MAML)"]
    curves = [h["validation_accuracy_after"].to_numpy() for h in (one, other)]
    figure = accuracy_bands({0.2: {"FedMeta(MAML)": [one, other]}}, "FEMNIST")
    panel = figure.axes[0]
    assert panel.lines[0].get_ydata() == pytest.approx(np.mean(curves, axis=0))
    top = panel.collections[0].get_paths()[0].vertices[:, 1].max()
    highest = np.mean(curves, axis=0) + np.std(curves, axis=0, ddof=1)
    assert top == pytest.approx(highest.max())


def test_loss_of_validation_above_that_of_training(histories):
    figure = loss_bands(histories, "FEMNIST")
    assert len(figure.axes) == 4
    assert figure.axes[0].get_yscale() == "log"
    assert "validation" in figure.axes[0].get_ylabel()
    assert "training" in figure.axes[2].get_ylabel()


def test_density_is_over_the_clients_of_all_seeds():
    tables = [scores("maml", s) for s in range(2)]
    figure = client_density({0.2: {"FedMeta(MAML)": tables}}, "FEMNIST")
    mean = figure.axes[0].lines[1].get_xdata()[0]
    shares = [t["accuracy_sum_after"] / t["num_query"] for t in tables]
    assert mean == pytest.approx(np.concatenate(shares).mean())


@pytest.mark.parametrize("draw", [accuracy_bands, loss_bands, client_density])
def test_nothing_recorded(draw):
    figure = draw({}, "FEMNIST")
    assert figure.axes[0].texts[0].get_text() == "nothing is recorded"


def test_one_seed_and_one_round():
    only = history("maml", rounds=0)
    accuracy_bands({0.2: {"FedMeta(MAML)": [only]}}, "FEMNIST").canvas.draw()
    loss_bands({0.2: {"FedMeta(MAML)": [only]}}, "FEMNIST").canvas.draw()
