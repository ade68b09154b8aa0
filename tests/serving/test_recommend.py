"""`kedro recommend` and its Python function, on a run that was made up."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from fedmeta import identity
from fedmeta.benchmarks.recommendation.features import codebook, encoding
from fedmeta.benchmarks.recommendation.parse import parse
from fedmeta.benchmarks.recommendation.upcoming import TABLE
from fedmeta.checkpoints import Checkpoint
from fedmeta.cli import cli
from fedmeta.core.algorithms import ALGORITHMS, maml
from fedmeta.core.optimizers import sgd
from fedmeta.core.types import Divergence, ServerState
from fedmeta.data.encoding import Codebook, Encoding
from fedmeta.data.errors import DataError
from fedmeta.datasets import CheckpointDataset, PackedSource
from fedmeta.models.tabular import tabular
from fedmeta.pipelines.options import RawOptions
from fedmeta.pipelines.recommendation.methods import FEDERATED
from fedmeta.serving import Personaliser, load_run, personalise, recommend
from fedmeta.serving.personal import UNCALIBRATED

KEDRO = str(Path(sys.executable).with_name("kedro"))
COLUMNS = ["user", "time", "service", "battery", "category"]


def write_log(path, users, services, days=3):
    """Every quarter of an hour the next service of a circle, on 1 June and after."""
    times = pd.date_range("2024-06-01T08:00", periods=96 * days, freq="15min")
    rows = [
        (user, time.isoformat(), services[i % len(services)], 100 - i % 96, "work")
        for user in users
        for i, time in enumerate(times)
    ]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame.loc[::7, "category"] = "play"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def project(new_project):
    """A project after a run that ended where it began: at the initial parameters."""
    folder = new_project()
    raw = write_log(folder / "raw.csv", ["ann", "bob", "zoe"], ["a", "b", "c"])
    bootstrap_project(folder)
    context = KedroSession.create(folder, env="smoke").load_context()
    catalog = context.catalog
    blocks = context.config_loader["parameters"]["recommendation"]
    clients, metadata = parse([raw], **RawOptions(**blocks["raw"]).parse)
    packed = clients, {**metadata, "synthetic": "true"}
    source = PackedSource(lambda: packed, {})
    catalog.save("recommendation.records", source)
    records = catalog.load("recommendation.records")
    used = pd.DataFrame({"client_id": records.client_ids, "start": 0, "stop": 288})
    book = codebook(records, used, **blocks["encoding"])
    catalog.save("recommendation.codebook", book)
    for name, method in FEDERATED.items():
        model = tabular(**encoding(book).sizes, **blocks["models"][method.model])
        theta = model.init(0)
        meta = {"theta": theta}
        if method.algorithm == "meta_sgd":
            meta["alpha"] = {n: torch.full_like(p, 0.5) for n, p in theta.items()}
        # one is still being trained, or was until it diverged
        reached = 3 if name == "maml_lr" else 4
        history = {method.algorithm: pd.DataFrame({"round": [reached]})}
        factory = ALGORITHMS[method.algorithm].factory
        settings = identity.settings(
            model={**identity.named(tabular), **blocks["models"][method.model]},
            encoding=identity.named(encoding),
            **{name: {**identity.named(factory), **blocks[name]}},
        )
        checkpoint = Checkpoint(settings, ServerState(meta, {}, reached), history, 4)
        catalog.save(f"recommendation.{name}.checkpoint", checkpoint)
    return folder


@pytest.fixture
def own(tmp_path):
    """Three days of someone who goes mail, maps, news, mail, ..."""
    return write_log(tmp_path / "own.csv", ["mallory-7"], ["mail", "maps", "news"])


@pytest.fixture(scope="module", params=["meta_sgd_lr", "maml_nn", "meta_sgd_nn"])
def trained(request, project):
    return load_run(f"recommendation.{request.param}", project=project, env="smoke")


@pytest.mark.parametrize("kind", ["codebook", "records"])
def test_a_checkpoint_of_other_data_recommends_nothing(project, monkeypatch, kind):
    genuine = CheckpointDataset.load

    def other(self):
        held = genuine(self)
        return held._replace(settings={**held.settings, f"data.{kind}": "another"})

    monkeypatch.setattr(CheckpointDataset, "load", other)
    told = (
        rf"maml_nn was trained with other data \({kind}\); to train it: kedro run "
        "--pipeline recommendation_fedmeta --env smoke$"
    )
    with pytest.raises(ValueError, match=told):
        load_run("recommendation.maml_nn", project=project, env="smoke")


def test_options_of_today_change_nothing_of_what_was_trained(project, own):
    found = [
        recommend(
            load_run("recommendation.maml_nn", project=project, env="smoke", params=p),
            own,
            at="2024-06-04T08:00",
        )
        for p in ({}, {"recommendation": {"models": {"nn": {"hidden": 5}}}})
    ]
    pd.testing.assert_frame_equal(*found)


def test_configuration_from_elsewhere(project, own, tmp_path):
    """The run's was there as well."""
    elsewhere = tmp_path / "other conf"
    shutil.copytree(project / "conf", elsewhere)
    (elsewhere / "smoke").rename(elsewhere / "there")
    words = ["--env", "there", "--conf-source", elsewhere]
    done = invoke(project, own, *words)
    assert done.exit_code == 0, done.stderr
    done = invoke(project, own, *words, "--method", "maml_lr")
    named = f"--env there --conf-source '{elsewhere}'"
    assert (
        f"to train it: kedro run --pipeline recommendation_fedmeta {named}"
        in done.stderr
    )


def test_what_diverged_recommends_nothing(project, monkeypatch):
    genuine = CheckpointDataset.load
    lost = Divergence(4, "ann", "update")
    monkeypatch.setattr(
        CheckpointDataset, "load", lambda self: genuine(self)._replace(diverged=lost)
    )
    with pytest.raises(ValueError, match="maml_lr diverged in round 4: client ann"):
        load_run("recommendation.maml_lr", project=project, env="smoke")


def test_what_follows_in_the_users_circle_comes_first(trained, own):
    found = recommend(trained, own, at="2024-06-04T08:00")  # after the last, a news
    assert list(found) == ["score", "service"]
    assert found["service"][0] == "mail"
    assert found["score"][0] > 0.5
    assert found["score"].sum() == pytest.approx(1)
    assert sorted(found["service"]) == ["mail", "maps", "news"]


@pytest.fixture
def by_hand(tmp_path):
    """Three records of a and one of b; one step of 1 from zero on an input of 1."""
    path = tmp_path / "own.csv"
    records = [f"u,2024-06-01T08:0{i},{s}" for i, s in enumerate("aaba")]
    path.write_text("\n".join(["user,time,service", *records]))
    _, metadata = parse([path], user="user", time="time", service="service")

    def ones(columns, rows):
        labels = torch.from_numpy(columns["label"][rows].astype(np.int64))
        return torch.ones(len(rows), 1), labels

    model = tabular(1, 3)
    algorithm = maml(model.loss, inner_lr=1.0, server=sgd(1.0))
    meta = {"theta": model.init(0)}
    book, spelled = Codebook({}, ""), Encoding(ones, {})
    parts = (TABLE, metadata, book, spelled, model, algorithm, meta)
    return Personaliser(*parts), path


def test_scores_by_hand(by_hand):
    """The weight and the bias of a service each become its share less a third.

    So a is ahead of b by 2 (3/4 - 1/4) = 1. The third output, which stands for nothing
    that the user has used, has no share.
    """
    found = recommend(*by_hand, at="2024-06-01T09:00")
    assert found["service"].tolist() == ["a", "b"]
    expected = [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))]
    np.testing.assert_allclose(found["score"], expected, atol=1e-6)
    first = recommend(*by_hand, at="2024-06-01T09:00", top=1)
    pd.testing.assert_frame_equal(first, found[:1])


def test_the_trained_parameters_stay_as_they_were(by_hand):
    method, path = by_hand
    pd.testing.assert_frame_equal(recommend(method, path), recommend(method, path))
    assert not any(p.any() for p in method.meta["theta"].values())


def test_one_service_is_certain(by_hand):
    method, path = by_hand
    path.write_text("user,time,service\nu,2024-06-01,only\n")
    assert recommend(method, path).to_numpy().tolist() == [[1.0, "only"]]


def test_what_cannot_be_ranked(by_hand):
    method, path = by_hand
    with pytest.raises(DataError, match="top 0: expected 1 or more"):
        recommend(method, path, top=0)
    broken = {n: p + np.nan for n, p in method.meta["theta"].items()}
    diverged = method._replace(meta={"theta": broken})
    with pytest.raises(DataError, match=r"own\.csv: adapting to these rec"):
        recommend(diverged, path)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "recommendation.lr",
            {},
            r"no .*/lr\.safetensors \(but there are maml_lr,",
        ),
        ("recommendation", {}, "'recommendation'; expected BENCHMARK.ALGORITHM, such"),
        ("recommendations.maml_nn", {}, "of the benchmarks femnist, shakespeare, "),
        (
            "recommendation.maml_nn",
            {"env": "base"},
            r"there is no .*base/recommendation/p0.2_seed0/maml_nn.safetensors; first"
            ": kedro run --pipeline recommendation_fedmeta --env base$",
        ),
        (
            "recommendation.maml_nn",
            {"params": {"seed": 1}},
            r"no .*_seed1/maml_nn\.safetensors; first: .* smoke, with the same --param",
        ),
        ("recommendation.maml_nn", {"env": "smok"}, "no environment 'smok'"),
        ("recommendation.maml_nn", {"params": {"sed": 1}}, "unknown parameter 'sed'"),
        (
            "recommendation.maml_lr",
            {},
            "maml_lr was trained for 3 of 4 rounds; to train it: kedro run",
        ),
    ],
)
def test_there_is_no_such_run(project, name, options, message):
    with pytest.raises(ValueError, match=message) as error:
        load_run(name, project=project, **{"env": "smoke", **options})
    assert "\n" not in str(error.value)


def test_unfinished_parameters_of_other_benchmarks_stop_nothing(project, own):
    shutil.copytree(project / "conf/smoke", project / "conf/unfinished")
    path = project / "conf/unfinished/parameters_femnist.yml"
    path.write_text("femnist: {raw: {folder: 7}, training: null}")
    method = load_run("recommendation.maml_nn", project=project, env="unfinished")
    assert len(recommend(method, own, at="2024-06-04T08:00"))


def test_a_checkpoint_without_step_sizes_is_no_meta_sgd(project, monkeypatch):
    genuine = CheckpointDataset.load

    def bare(self):
        held = genuine(self)
        theta = {"theta": held.state.meta["theta"]}
        return held._replace(state=held.state._replace(meta=theta))

    monkeypatch.setattr(CheckpointDataset, "load", bare)
    with pytest.raises(ValueError, match="its alpha layer1.bias is missing, expected"):
        load_run("recommendation.meta_sgd_nn", project=project, env="smoke")


def test_the_project_is_the_one_around(project, monkeypatch, tmp_path):
    monkeypatch.chdir(project / "conf")
    found = load_run("recommendation.maml_nn", env="smoke")
    assert found.metadata["slots"] == "40"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no Kedro project here or above; name one"):
        load_run("recommendation.maml_nn")


def contents(*folders):
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in paths}


def test_a_table_is_as_good_as_a_file(project, own):
    method = load_run("recommendation.meta_sgd_nn", project=project, env="smoke")
    at = "2024-06-04T08:00"
    found = recommend(method, pd.read_csv(own), at=at)
    pd.testing.assert_frame_equal(found, recommend(method, own, at=at))
    with pytest.raises(ValueError, match="no column 'service'; the model reads user"):
        recommend(method, pd.read_csv(own).drop(columns="service"), at=at)


@pytest.mark.parametrize("as_file", [True, False], ids=["file", "standard input"])
def test_the_command_prints_and_writes_nothing(project, own, tmp_path, as_file):
    before = contents(project, tmp_path)
    words = [str(own)] if as_file else []
    words += ["--env", "smoke", "--top", "2"]
    words += ["--at", "2024-06-04T08:00", "--context", "battery=80"]
    done = subprocess.run(
        [KEDRO, "recommend", *words],
        cwd=project,
        input=None if as_file else own.read_text(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    method = load_run("recommendation.meta_sgd_nn", project=project, env="smoke")
    expected = recommend(
        method, own, top=2, at="2024-06-04T08:00", context={"battery": 80}
    )
    lines = [f"{row.score:.3f}  {row.service}" for row in expected.itertuples()]
    assert done.stdout.splitlines() == lines
    assert done.stderr == f"{UNCALIBRATED}\n"
    assert contents(project, tmp_path) == before


def invoke(project, *words, command="recommend", content=None):
    metadata = bootstrap_project(project)
    words = [command, *map(str, words)]
    return CliRunner().invoke(cli, words, obj=metadata, input=content)


def test_rows_of_many_users_at_once_leave_nothing_either(project, own, tmp_path):
    """Of standard input, whether they can be used or not."""
    rows = pd.read_csv(own)
    rows = pd.concat([rows.assign(user=user) for user in ("mallory-7", "eve-13")])
    rows.loc[rows.index[-1:], "service"] = None
    model = load_run("recommendation.maml_nn", project=project, env="smoke")
    expected = personalise(model, rows.reset_index(drop=True))
    before = contents(project, tmp_path)
    words = ["recommendation.maml_nn", "--env", "smoke", "--format", "json"]
    typed = {"command": "personalise", "content": rows.to_csv(index=False)}
    done = invoke(project, *words, **typed)
    assert done.exit_code == 0, done.output
    found = pd.DataFrame(json.loads(done.stdout)["predictions"])
    assert found["user"].tolist() == ["mallory-7", "eve-13"]
    pd.testing.assert_frame_equal(found, expected)
    typed["content"] = typed["content"].replace("2024-06-03", "noon")
    done = invoke(project, *words, **typed)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: user 'mallory-7': row ")
    assert done.stderr.count("\n") == 1
    assert contents(project, tmp_path) == before


def test_the_command_tells_errors_in_a_line_and_keeps_none(project, own, tmp_path):
    """The session would keep details of an error, here a user's name, in a file."""
    own.write_text(own.read_text() + "eve-13,2024-06-04T09:00,mail,1,work\n")
    before = contents(project, tmp_path)
    done = invoke(project, own, "--env", "smoke")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: {own}: is of 2 users, 'eve-13', 'mallory-7'")
    assert done.stderr.count("\n") == 1
    assert contents(project, tmp_path) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--context", "battery"], "'battery': expected NAME=VALUE"),
        (["--top", "0"], "0 is not in the range x>=1"),
        (["--params", "seed"], "expected NAME=VALUE"),
    ],
)
def test_words_of_the_command(project, own, words, message):
    done = invoke(project, own, *words)
    assert done.exit_code == 2
    assert message in done.stderr


def test_other_commands_do_not_load_what_this_one_needs():
    script = "import sys, fedmeta.cli; print({'torch', 'pandas'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
