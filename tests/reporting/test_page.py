import re
from io import StringIO

import pandas as pd
import pytest
from report_samples import all_figures, found, make_report, make_scores
from rich.console import Console

from fedmeta.reporting.report import DataNote, flatten, render, svg_data
from fedmeta.reporting.shown import printable, show, shown
from fedmeta.reporting.tables import accuracy_table
from fedmeta.reporting.wording import bytes_text, flops_text
from fedmeta.studies.comparison import printed as in_terminal
from fedmeta.studies.comparison import summary

STATISTICS = pd.DataFrame({"quantity": ["clients"], "paper": [3500]})


def page(
    histories, scores, synthetic=True, paper=None, statistics=STATISTICS, **changes
):
    source = "synthetic sample" if synthetic else "FEMNIST (LEAF)"
    data = DataNote(
        benchmark="FEMNIST",
        source=source,
        synthetic=synthetic,
        stands_in=synthetic,
        parameters={"maml": {"inner_lr": 0.001}, "seed": 0},
        notes=["Pixels are as they were found."],
    )._replace(**changes)
    made = make_report(histories, scores, paper=paper, source=source)
    return render(made._replace(statistics=shown(statistics, plain=True)), data)


class TestPage:
    def test_is_self_contained(self, histories, scores):
        html = page(histories, scores)
        addresses = re.findall(r'(?:src|href)="([^"]+)"', html)
        assert len([a for a in addresses if a.startswith("data:image/svg")]) == 6
        others = {a for a in addresses if not a.startswith("data:")}
        assert others == {"http://127.0.0.1:4141", "http://127.0.0.1:5000"}
        assert "url(" not in html and "<script" not in html and "<link" not in html

    def test_says_loudly_that_a_sample_is_no_benchmark(self, histories, scores):
        banner = "Synthetic sample – not FEMNIST"
        assert banner in page(histories, scores)
        real = page(histories, scores, synthetic=False)
        assert banner not in real and "synthetic" not in real.lower()

    def test_says_loudly_that_other_real_data_are_no_benchmark(self, histories, scores):
        changes = {"stands_in": True, "source": "reviews, not FEMNIST"}
        other = page(histories, scores, synthetic=False, **changes)
        assert "Real data in the form of FEMNIST" in other
        real = page(histories, scores, synthetic=False)
        assert "Real data in the form of" not in real

    def test_shows_tables_and_parameters(self, histories, scores):
        html = page(histories, scores)
        assert "FedMeta(Meta-SGD)" in html and "not reached" in html
        assert "maml.inner_lr" in html and "0.001" in html
        assert "<li>Pixels are as they were found.</li>" in html
        assert "<td>3,500</td>" in html  # the statistics' paper column is no percentage

    def test_paper_column_only_where_there_is_one(self, histories, scores):
        assert "<th>Paper</th>" not in page(histories, scores)
        beside = page(histories, scores, paper={"FedAvg": 76.79})
        assert "<th>Paper</th>" in beside and "76.8 %" in beside

    def test_escapes_what_it_is_given(self, histories, scores):
        scores = {"<b>x</b>": scores["FedAvg"]}
        html = page({"<b>x</b>": histories["FedAvg"]}, scores)
        assert "<b>x</b>" not in html

    def test_names_of_data_are_no_markup(self, histories, scores):
        name = """"><img src=x onerror="alert(1)"> 'a' {{ 7 * 7 }} </title>"""
        html = page(
            histories,
            scores,
            synthetic=False,
            source=name,
            stands_in=True,
            notes=[name],
            parameters={name: name},
            statistics=pd.DataFrame({name: [name]}),
        )
        assert (
            html.count("<img ") == 6 and "49" not in html.partition("<h2>The data")[2]
        )
        assert "{{ 7 * 7 }}" in html

    def test_nothing_at_all(self, empty_history):
        nobody = {"FedAvg": make_scores([], [], [])}
        html = page({"FedAvg": empty_history}, nobody)
        assert "No test client has been evaluated." in html
        assert "<td>nan</td>" not in html and "<td>–</td>" in html


def test_the_same_tables_give_the_same_drawing(histories, scores):
    first, second = (
        svg_data(all_figures(histories, scores)["accuracy"]) for _ in range(2)
    )
    assert first == second


def test_summary_names_the_best(histories, scores):
    text = summary(accuracy_table(found(scores, histories)))
    assert "FedMeta(MAML) classifies 90.0 %" in text and "50.0 points more" in text


def test_summary_when_the_baseline_is_best(histories, scores):
    one = {"FedAvg": scores["FedAvg"]}
    assert "points" not in summary(accuracy_table(found(one, histories)))


def test_flatten():
    assert flatten({"a": {"b": 1, "c": {"d": None}}, "e": [1]}) == {
        "a.b": "1",
        "a.c.d": "None",
        "e": "[1]",
    }


def printed(accuracy: pd.DataFrame) -> list[str]:
    """The lines that a terminal of 80 characters shows."""
    console = Console(file=StringIO(), width=80, color_system=None)
    console.print(printable(in_terminal(accuracy), "· sample"))
    return console.file.getvalue().splitlines()


class TestTerminal:
    def test_fits_80_characters_unbroken(self, histories, scores):
        paper = {"FedMeta(Meta-SGD)": 89.26}
        table = accuracy_table(found(scores, histories), paper)
        table["rounds"], table["flops"] = 2000, 2.54e14
        table["bytes_down"] = table["bytes_up"] = 422_800_000_000
        lines = printed(table)
        row = next(line for line in lines if "Meta-SGD" in line)
        words = (
            "FedMeta(Meta-SGD) 30.0 % 70.0 % 66.7–100.0 89.3 % 2,000 846 GB 254 TFLOP"
        )
        assert row.split() == words.split()
        assert "sample" in lines[0]
        assert not any("…" in line for line in lines)

    def test_leaves_out_a_paper_that_says_nothing(self, histories, scores):
        table = accuracy_table(found(scores, histories))
        assert not any("Paper" in line for line in printed(table))

    @pytest.mark.parametrize("name", ["[red]a[/nope].csv", "[/]", ":smile:.csv"])
    def test_the_data_may_have_any_name(self, histories, scores, capsys, name):
        table = accuracy_table(found(scores, histories, name))
        show(in_terminal(table), f"· {name}")
        assert f"· {name}" in capsys.readouterr().out

    def test_nothing_at_all(self, empty_history):
        nobody = {"FedAvg": make_scores([], [], [])}
        table = accuracy_table(found(nobody, {"FedAvg": empty_history}))
        assert any("FedAvg" in line for line in printed(table))


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (512, "512 B"),
        (1000, "1.00 kB"),
        (999_900, "1.00 MB"),
        (105_700_000, "106 MB"),
        (12_680_000_000, "12.7 GB"),
    ],
)
def test_bytes_in_decimal_prefixes(count, expected):
    assert bytes_text(count) == expected


def test_flops_text():
    assert flops_text(2.5e14) == "250 TFLOP"


def test_readable_leaves_unknown_columns_alone():
    table = shown(pd.DataFrame({"records_per_user": [1234.5], "gain": [-0.01]}))
    ((_, (row,)),) = table.bodies
    assert [cell.text for cell in row] == ["1,234.50", "+0.0"]
    assert table.titles == ["records per user", "Over FedAvg"]
