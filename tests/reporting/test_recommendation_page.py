import re
from io import StringIO

import pandas as pd
import pytest
from recommendation_report_samples import (
    SIZES,
    make_history,
    make_scores,
    paper_scores,
    results,
)
from rich.console import Console

from fedmeta.pipelines.recommendation.methods import METHODS
from fedmeta.reporting.report import DataNote, render
from fedmeta.reporting.shown import printable, shown
from fedmeta.studies.recommendation import BENCHMARK, grouped, report_on

HISTORIES = {"meta_sgd_nn": make_history([0.1, 0.7], [0.3, 0.8])}


DATA = DataNote(
    benchmark="the paper's log",
    source="synthetic sample",
    synthetic=True,
    stands_in=True,
    parameters={"meta": {"test_steps": 100}},
    notes=["17 duplicate records were dropped."],
)
STATISTICS = shown(pd.DataFrame({"quantity": ["users"], "paper": [9369]}), plain=True)


def reported(scores, paper=True, methods=METHODS):
    source = BENCHMARK.label if paper else "sample"
    return report_on(results(scores, HISTORIES, methods, source), SIZES)


def page(scores, paper=True, methods=METHODS, statistics=STATISTICS, **changes):
    made = reported(scores, paper, methods)._replace(statistics=statistics)
    return render(made, DATA._replace(**changes))


@pytest.fixture(scope="module")
def table():
    return reported(paper_scores()).tables["table3"]


@pytest.fixture(scope="module")
def html():
    return page(paper_scores())


class TestPage:
    def test_is_self_contained(self, html):
        addresses = re.findall(r'(?:src|href)="([^"]+)"', html)
        assert len([a for a in addresses if a.startswith("data:image/svg")]) == 3
        others = {a for a in addresses if not a.startswith("data:")}
        assert others == {"http://127.0.0.1:4141", "http://127.0.0.1:5000"}
        assert "url(" not in html and "<script" not in html and "<link" not in html

    def test_every_row_of_a_table_is_as_wide_as_its_head(self, html):
        for table in re.findall(r"<table[^>]*>.*?</table>", html, re.DOTALL):
            widths = set()
            for row in re.findall(r"<tr[^>]*>(.*?)</tr>", table, re.DOTALL):
                spans = re.findall(r'<t[hd](?: colspan="(\d+)")?[ >]', row)
                widths.add(sum(int(span or 1) for span in spans))
                assert row.count("<th") == row.count("</th>")
                assert row.count("<td") == row.count("</td>")
            assert len(widths) == 1

    def test_says_loudly_what_the_data_are(self, html):
        assert "Synthetic sample – not the paper&#39;s log" in html
        changes = {"synthetic": False, "source": "visits"}
        other = page(paper_scores(), **changes)
        assert "Real data in the form of" in other
        own = page(paper_scores(), stands_in=False, **changes)
        assert "banner" not in own.partition("<body>")[2]

    def test_shows_table_claims_notes_and_parameters(self, html):
        assert "<b>86.23</b>" in html and "<td>918,452</td>" in html
        assert html.count("1 seed; figures point to it") == 8
        assert "17 duplicate records" in html and "meta.test_steps" in html
        assert "<td>9,369</td>" in html
        assert "With 80 % of a user&#39;s records" in html

    def test_claims_that_fail_or_are_open(self):
        scores = paper_scores()
        scores["nb"] = make_scores([99, 99], [99, 99])
        del scores["maml_lr"]
        html = page(scores)
        assert "1 seed; figures point against it" in html
        assert '<span class="unknown">not measured</span>' in html

    def test_paper_only_where_it_is_asked_for(self, html):
        assert "Paper, 80 %" in html and "The paper&#39;s numbers are for" in html
        without = page(paper_scores(), paper=False)
        assert "Paper, 80 %" not in without
        assert "The paper&#39;s numbers are for" not in without

    def test_escapes_what_it_is_given(self):
        methods = {"mfu": METHODS["mfu"]._replace(label="<b>x</b>")}
        html = page({"mfu": make_scores([1], [2])}, methods=methods)
        assert "<b>x</b>" not in html

    def test_nothing_at_all(self):
        html = page({}, statistics=None)
        assert "No test user has been evaluated." in html
        assert ">nan<" not in html and "&lt;NA&gt;" not in html


def rows(table):
    found = grouped(table)
    over = [text for text, count in found.groups for _ in range(count)]
    heads = list(zip(over, found.titles, strict=True))
    return heads, [row for _, body in found.bodies for row in body]


def test_the_best_of_each_column_is_marked(table):
    heads, shown_rows = rows(table)
    place = heads.index(("5 % support", "Top-1"))
    best = [row[0].text for row in shown_rows if row[place].best]
    assert best == ["MAML + NN"]
    labels = heads.index(("", "Parameters"))
    assert not any(row[labels].best for row in shown_rows)


def test_cells_say_what_is_missing():
    scores = paper_scores()
    del scores["nb"]
    _, shown_rows = rows(reported(scores, paper=False).tables["table3"])
    found = {row[0].text: row for row in shown_rows}
    assert [cell.text for cell in found["NB"]] == ["NB"] + ["–"] * 6
    assert [cell.text for cell in found["MRU"]][1:4] == ["–", "–", "70.44"]
    assert not any(cell.best for cell in found["NB"])


class TestTerminal:
    def printed(self, table, **options):
        console = Console(file=StringIO(), width=80, **options)
        shown_table = grouped(table.drop(columns="parameters"))
        console.print(printable(shown_table, "sample"))
        return console.file.getvalue().splitlines()

    def test_fits_80_characters_unbroken(self, table):
        lines = self.printed(table, color_system=None)
        row = next(line for line in lines if "Meta-SGD + NN" in line)
        assert row.split()[4:] == (
            "86.23 96.46 72.98 78.17 86.23 96.46 72.98 78.17".split()
        )
        assert "sample" in lines[0]
        assert not any("…" in line for line in lines)
        assert any(line.split()[:1] == ["MRU"] and "–" in line for line in lines)

    def test_best_is_bold(self, table):
        lines = self.printed(table, force_terminal=True, color_system="standard")
        row = next(line for line in lines if "MAML + NN" in line)
        assert "\x1b[1m73.08" in row.replace("\x1b[1m ", "\x1b[1m")
        assert "\x1b[1m83.87" not in row

    def test_nothing_at_all(self):
        lines = self.printed(reported({}).tables["table3"], color_system=None)
        assert any("NN-unified" in line for line in lines)
