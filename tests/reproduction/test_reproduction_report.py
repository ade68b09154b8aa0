"""From recorded runs to the folder: page, tables, figures."""

import re
import shutil
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project
from made_up_runs import (
    LEVELS,
    Store,
    frame,
    recorded,
    scores,
    table2_of,
    write_store,
)
from matplotlib.figure import Figure

from fedmeta.cli import cli
from fedmeta.data.errors import DataError
from fedmeta.reproduction.report import html, slug, slugs, write
from fedmeta.reproduction.runs import Recorded, matching
from fedmeta.reproduction.settings import choose
from fedmeta.reproduction.study import read, table3_study


def study(rows, name="femnist", target=0.7):
    return table2_of(frame(rows), name, target)


def grid(fractions=(0.2,), seeds=(0, 1), **changed):
    return [
        recorded(name, p, seed, after + seed / 100, before, **changed)
        for name, (after, before) in LEVELS.items()
        for p in fractions
        for seed in seeds
    ]


def text_of(page: str) -> str:
    bare = re.sub(r"<(style|img).*?(</style>|>)", " ", page, flags=re.S)
    return " ".join(unescape(re.sub("<[^>]+>", " ", bare)).split())


@pytest.fixture(scope="module")
def real():
    return study(grid())


def test_page(real):
    text = text_of(html([real]))
    assert "FedMeta's gain over FedAvg on FEMNIST is +14.00 to +16.00 points" in text
    assert (
        "(a) FedMeta is above FedAvg at 20 % undecided 2 seeds; figures point to it"
        in text
    )
    assert "FedMeta(Meta-SGD) 90.50 ± 0.71 (2) 89.26 +1.24 missing 90.28" in text
    assert "(d) FedMeta reaches 70 % validation accuracy in fewer rounds" in text
    assert (
        "kedro sweep --pipeline femnist_fedmeta --env paper "
        "--params support_fraction=0.5,0.9 --params seed=0,1,2" in text
    )
    assert "real data: --env paper) kedro run --pipeline recommendation_fedmeta" in text
    assert "Synthetic" not in text


def test_page_needs_nothing_but_itself(real):
    page = html([real])
    assert page.count("data:image/svg+xml;base64,") == len(real.report.figures) == 4
    addresses = re.findall(r'(?:src|href)="(?!data:)([^"]+)"', page)
    assert all(a.startswith(("http://127.0.0.1", "#")) for a in addresses)


def test_synthetic_data_never_stand_for_the_real_ones(real):
    generated = study(
        grid(source="synthetic", experiment="femnist (synthetic sample)"),
        "femnist (synthetic sample)",
    )
    assert generated.data.source == "synthetic sample, not FEMNIST"
    assert all(
        "not FEMNIST" in f.get_suptitle() for f in generated.report.figures.values()
    )
    assert not [name for name in generated.report.tables["table2"] if "paper" in name]
    assert "Synthetic sample – not FEMNIST" in text_of(html([generated]))

    text = text_of(html([real, generated]))
    assert "gain over FedAvg on FEMNIST is" in text
    assert "These data were drawn by a program" in text
    assert "Synthetic sample – not FEMNIST" not in text


def test_data_that_stand_in_are_named():
    reviews = study(
        grid(benchmark="sent140", data_name="film reviews"), "sent140 (film reviews)"
    )
    assert reviews.data.source == "film reviews, not Sent140"
    assert "paper_20" not in reviews.report.tables["table2"]


def test_notes_name_what_was_left_out():
    rows = grid() + grid(seeds=(0,), parameters={"training.rounds": "600"}, ended=0)
    rows += [recorded("maml", status="FAILED"), recorded("maml", ended=2)]
    text = " ".join(study(rows).data.notes)
    assert "training.rounds=600 instead of 2000" in text
    assert "5 runs of FedAvg, FedAvg(Meta)" in text
    assert "1 run of the same cells left out" in text
    assert "1 run did not finish" in text
    assert "commits c0ffee" in text


def test_without_a_target_the_cost_is_left_out():
    bare = study(grid(), target=None)
    assert "overhead" not in bare.report.tables
    assert bare.report.claims[3].outcome.verdict == "not measured"


def one_figure(study):
    """To be written sooner."""
    for section in study.report.sections:
        if shows := section.figures.get("accuracy"):
            one = section._replace(figures={"accuracy": shows})
    return study._replace(report=study.report._replace(sections=[one]))


def test_files(real, tmp_path):
    page = write([one_figure(real)], tmp_path)
    assert page == tmp_path / "report.html"
    found = {path.name for path in (tmp_path / "femnist").iterdir()}
    tables = {f"{n}.csv" for n in ("table2", "gains", "overhead", "runs")}
    texts = {f"{n}.md" for n in ("table2", "before", "gains", "overhead")}
    assert found == tables | texts | {"accuracy.svg", "accuracy.pdf"}
    table = pd.read_csv(tmp_path / "femnist" / "table2.csv", index_col="algorithm")
    assert table.loc["FedMeta(MAML)", "after_20"] == pytest.approx(88.5)
    assert table.loc["FedMeta(MAML)", "n_20"] == 2
    claims = pd.read_csv(tmp_path / "claims.csv", keep_default_na=False)
    assert [claim[:3] for claim in claims["claim"]] == [f"({c})" for c in "abcdefghij"]
    assert claims["tendency"].tolist()[:4] == ["for", "for", "", "for"]
    undecided, missing = "undecided", "not measured"
    assert claims["verdict"].tolist()[:4] == [undecided, undecided, missing, undecided]
    assert claims["seeds"].tolist()[:4] == [2, 2, 0, 2]
    assert b"/FontFile2" in (tmp_path / "femnist" / "accuracy.pdf").read_bytes()


def test_a_stop_leaves_former_files_whole(real, tmp_path, monkeypatch):
    write([one_figure(real)], tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def stopped(figure, file, **options):
        Path(file).write_bytes(b"half of a fig")
        raise KeyboardInterrupt

    monkeypatch.setattr(Figure, "savefig", stopped)
    with pytest.raises(KeyboardInterrupt):
        write([one_figure(real)], tmp_path)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_the_same_runs_give_the_same_files(tmp_path):
    once, again = (write([one_figure(study(grid()))], tmp_path / name) for name in "ab")
    for path in sorted(once.parent.rglob("*.*")):
        same = again.parent / path.relative_to(once.parent)
        assert path.read_bytes() == same.read_bytes(), path.name


def ranking(hits):
    """Two users, 100 query records each."""
    return pd.DataFrame(
        {
            "client_id": ["a", "b"],
            "support_fraction": 0.8,
            "steps": 100,
            "num_support": 4,
            "num_query": 100,
            "top1": hits,
            "top4": 100,
        }
    )


def test_table3_is_the_mean_over_seeds():
    rows = [
        recorded("maml_nn", seed=s, benchmark="recommendation", run_id=f"run {s}")
        for s in (0, 1)
    ]
    curve = pd.DataFrame(
        {
            "round": [0, 1000],
            "validation_accuracy_after": [0.1, 0.5],
            "validation_top4_after": [0.2, 0.8],
        }
    )
    described = pd.DataFrame(
        {
            "id": ["maml_nn", "nn"],
            "kind": ["meta", "alone"],
            "method": ["MAML + NN", "NN"],
            "parameters": [18, 9],
        }
    )

    class Ranked(Store):
        def table(self, run, path):
            hits = [60, 60] if run.seed == 0 else [70, 90]
            return curve if "_history" in path else ranking(hits)

    runs = read(Ranked(), {"recommendation": choose(frame(rows))})
    found = table3_study("recommendation", runs, {}, described)
    table = found.report.tables["table3"].set_index("method")
    assert table.loc["MAML + NN", "top1_80"] == pytest.approx(70)
    assert table.loc["MAML + NN", "parameters"] == 18
    assert set(found.report.figures) == {"episodes", "steps"}
    assert [line for _, line in found.missing] == [
        "kedro run --pipeline recommendation_fedmeta --env paper --params seed=2"
    ]
    assert "MAML + NN" in text_of(html([found]))
    assert {claim.outcome.seeds for claim in found.report.claims} <= {0, 2}


def test_a_table3_without_any_seed():
    class Ranked(Store):
        def table(self, run, path):
            return None if "_history" in path else ranking([60, 60])

    rows = [recorded("mru", seed=None, benchmark="recommendation")]
    runs = read(Ranked(), {"recommendation": choose(frame(rows))})
    found = table3_study("recommendation", runs, {}, None)
    assert "Means over" not in text_of(html([found]))


def test_where_keeps_runs_that_lack_the_parameter():
    runs = frame(
        [
            recorded("maml", parameters={"algorithm.inner_lr": "0.1"}),
            recorded("maml", seed=1, parameters={"algorithm.inner_lr": "0.2"}),
            recorded("fedavg"),
        ]
    )
    kept = matching(runs, {"algorithm.inner_lr": "0.1"})
    assert list(kept["algorithm"]) == ["maml", "fedavg"]
    with pytest.raises(DataError, match="no recorded run has training.rounds=7"):
        matching(runs, {"training.rounds": "7"})


def test_where_keeps_the_runs_of_a_store():
    """Presets that differ in the algorithms' options alone would be mixed."""
    runs = frame([recorded("maml"), recorded("maml", store="tuned", seed=1)])
    assert matching(runs, {"store": "tuned"})["seed"].tolist() == [1]
    with pytest.raises(DataError, match="no recorded run has store=mine"):
        matching(runs, {"store": "mine"})


def test_experiments_of_other_letters_do_not_share_a_folder():
    names = ["recommendation", "recommendation (\u65e5\u672c.csv)", "a ($)", "a (=)"]
    places = slugs([SimpleNamespace(name=name) for name in names])
    assert list(places.values()) == ["recommendation", "recommendation_csv", "a", "a_2"]
    again = [SimpleNamespace(name=name) for name in ("a", "a (\u65e5)")]
    assert list(slugs(again).values()) == ["a", "a_2"]


def test_slug():
    assert slug("femnist (synthetic sample)") == "femnist_synthetic_sample"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "maml_scores.csv").write_bytes(content)
    run = SimpleNamespace(run_id="abc", artifacts=tmp_path.as_uri())
    with pytest.raises(DataError, match="maml_scores.csv of MLflow's run abc: "):
        Recorded.table(None, run, "maml_scores.csv")


def test_a_store_that_there_is_not(tmp_path):
    with pytest.raises(DataError, match="mlflow.db: there is no such store"):
        Recorded(f"sqlite:///{tmp_path}/mlflow.db")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def project(new_project, tmp_path_factory) -> Path:
    """A project with a store of recorded runs, in which one lacks its files."""
    folder = new_project()
    write_store(folder, [recorded(name, 0.2, 0, 0.88) for name in ("maml", "fomaml")])
    broken = folder / "mlartifacts" / "femnist"
    shutil.rmtree(
        next(path for path in broken.iterdir() if list(path.rglob("fomaml*")))
    )
    return folder


def test_from_store_to_report(project, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    metadata = bootstrap_project(project)
    done = CliRunner().invoke(cli, ["reproduce"], obj=metadata)
    assert done.exit_code == 0, done.output
    page = project / "data" / "08_reporting" / "reproduction" / "report.html"
    assert str(page) in done.output
    text = text_of(page.read_text())
    assert "FedMeta(MAML) 88.00 (1) 88.46 -0.46" in text
    assert "Left out: 1 run of FedMeta(FOMAML) without files." in text
    # femnist.report.target_accuracy of conf/paper, the environment of the runs
    cost = pd.read_csv(page.parent / "femnist" / "overhead.csv")
    assert cost["target"].tolist() == [74]

    wrong = CliRunner().invoke(
        cli, ["reproduce", "--experiment", "femnits"], obj=metadata
    )
    assert wrong.exit_code == 1
    assert "no experiment 'femnits' in this store, expected one of" in wrong.output


def test_files_of_a_store_elsewhere_come_through_mlflow(project):
    store = Recorded(f"sqlite:///{project}/mlflow.db")
    runs = store.runs(["femnist"])
    (run,) = runs[runs["algorithm"] == "maml"].itertuples()
    # a server hides where its files are; the client asks by the run's id
    elsewhere = run._replace(artifacts="mlflow-artifacts:/0/artifacts")
    assert store.table(elsewhere, "maml_scores.csv").equals(scores(run))
    assert store.table(run, "maml_scores.csv").equals(scores(run))
    assert store.report(elsewhere, "table3.csv") is None
    assert run.support_fraction == 0.2
    assert run.metrics["test/accuracy_after"] == 0.88
