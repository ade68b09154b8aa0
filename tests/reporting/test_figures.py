from io import BytesIO

import matplotlib
import pytest
from matplotlib.figure import Figure
from report_samples import all_figures, found, make_history, make_scores, make_targets

from fedmeta.reporting.figures import (
    accuracy_curves,
    adaptation_effect,
    client_density,
    cost_curves,
    overhead_bars,
)
from fedmeta.reporting.style import COLOURS, colours_of, panels, spaced
from fedmeta.reporting.tables import overhead_table


def draw(figure):
    """Draw, with every warning an error; return all words in the figure."""
    assert isinstance(figure, Figure)
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")
    return " | ".join(
        text.get_text() for text in figure.findobj(matplotlib.text.Text)
    ).replace("\n", " ")


# What other tests have left open is let go at any time.
pytestmark = pytest.mark.filterwarnings("error", "ignore::ResourceWarning")


def test_every_figure_names_its_data(histories, scores):
    for figure in all_figures(histories, scores).values():
        assert "· sample" in draw(figure)


def test_one_algorithm(histories, scores):
    name = "FedMeta(MAML)"
    one = all_figures({name: histories[name]}, {name: scores[name]})
    for figure in one.values():
        draw(figure)


def test_nothing_at_all(empty_history):
    nobody = {"FedAvg": make_scores([], [], [])}
    figures = all_figures({"FedAvg": empty_history}, nobody)
    assert "no round has been evaluated" in draw(figures["accuracy"])
    assert "no round has been evaluated" in draw(figures["loss"])
    assert "no test client" in draw(figures["density"])
    assert "no client's accuracy changed" in draw(figures["adaptation"])
    assert "not reached" in draw(figures["overhead"])


def test_only_the_untrained_model(scores):
    for figure in all_figures({"FedAvg": make_history([0.02])}, scores).values():
        draw(figure)


def test_equal_clients_become_an_upright_line():
    figure = client_density(found({"FedAvg": make_scores([4, 4], [2, 2], [2, 2])}, {}))
    assert "mean 50.0%" in draw(figure)
    assert list(figure.axes[0].lines[0].get_xdata()) == [0.5, 0.5]


def test_dashes_that_repeat_a_drawn_curve_are_left_out():
    after = [0.0, 0.3, 0.5]
    histories = {
        "FedAvg": make_history(after),
        "FedAvg(Meta)": make_history([0.0, 0.4, 0.6], before=after),
    }
    assert len(accuracy_curves(found({}, histories)).axes[0].lines) == 2
    histories["FedMeta(MAML)"] = make_history([0.0, 0.5, 0.7], before=[0, 0.1, 0.1])
    assert len(accuracy_curves(found({}, histories)).axes[0].lines) == 4


def test_curves_hold_the_numbers_unsmoothed(histories):
    line = accuracy_curves(found({}, histories)).axes[0].lines[1]
    assert list(line.get_ydata()) == [0.0, 0.6, 0.7, 0.8]


def test_adaptation_counts_clients(scores):
    words = draw(adaptation_effect(found(scores, {})))
    assert "FedMeta(MAML) 50% better · 0% worse" in words
    assert "FedAvg " not in words  # it does not adapt


def test_overhead_says_what_was_not_reached(histories):
    words = draw(overhead_bars(overhead_table(found({}, histories), 0.5), "sample"))
    assert "not reached (best 40.0 %)" in words
    assert "200 MB" in words and "10.0 kFLOP  (counted +1.0 %)" in words


def test_costs_by_target_have_a_line_and_a_band_an_algorithm(histories):
    figure = cost_curves(make_targets(histories, 0.3), "sample")
    words = draw(figure)
    assert "200 MB" in words and "no target" not in words
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(histories)
    for panel in figure.axes:
        lines = dict(zip(histories, panel.lines, strict=True))
        assert len(panel.collections) == 3
        # FedAvg gets to 60 %, Meta-SGD to 40 %
        assert max(lines["FedAvg"].get_xdata()) == 60
        assert max(lines["FedMeta(Meta-SGD)"].get_xdata()) == 40
    assert "no target was reached" in draw(
        cost_curves(make_targets(histories, 0.9), "")
    )


def test_known_algorithms_keep_their_colour():
    assert colours_of(["new", "FedAvg"])["FedAvg"] == COLOURS["FedAvg"]
    assert len(set(colours_of(["new", "newer", *COLOURS]).values())) == 7


def test_labels_are_moved_apart_in_order():
    placed = spaced([0.9, 0.5, 0.51], 0.1)
    assert placed[0] == 0.9
    assert placed[2] - placed[1] == pytest.approx(0.1)
    assert placed[1] + placed[2] == pytest.approx(1.01)
    assert spaced([], 0.1) == []


def test_a_notebook_shows_figures():
    """As a picture: it shows figures of pyplot alone by itself."""
    assert panels({"": 1}, "", (2, 1))[0]._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["$in_$out.csv", "cost in $ and $", "$", r"\$x^{"])
def test_the_data_may_have_any_name(histories, scores, name):
    for kind in ("png", "svg", "pdf"):
        figure = accuracy_curves(found({}, histories, name))
        figure.savefig(BytesIO(), format=kind)
    overhead = overhead_table(found({}, histories, name), 0.5)
    for figure in (
        accuracy_curves(found({}, histories, name)),
        client_density(found(scores, {}, name)),
        adaptation_effect(found(scores, {}, name)),
        overhead_bars(overhead, name),
    ):
        assert name in draw(figure)
