"""Encodings that are learned of training clients, whose records are on nodes.

Nodes pack tables, images and tweets of their own, with classes and categories of their
own. Codebook and records are to be those of one data set of all clients, to the bit.
"""

import csv
import json
import os
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from PIL import Image

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.benchmarks.sent140.synthetic import write_sample
from fedmeta.data.errors import DataError
from fedmeta.data.federated import read_packed
from fedmeta.data.tasks import task_maker
from fedmeta.data.vocabularies import LISTS
from fedmeta.pipelines.federation import nodes as asking
from fedmeta.pipelines.options import PartitionOptions
from fedmeta.pipelines.preparation import nodes as here
from fedmeta.runtime.federation.current import taking_part
from fedmeta.runtime.federation.job import Job
from fedmeta.runtime.federation.messages import Message
from fedmeta.runtime.federation.node import Node, _prepared
from fedmeta.runtime.federation.pack import pack
from fedmeta.runtime.federation.roster import Terms
from fedmeta.runtime.federation.rounds import Federation
from fedmeta.runtime.federation.tables import RECORDS
from fedmeta.runtime.on_worker import version

COLUMNS = {"client": "user", "label": "y"}
SELECTION = {"min_records": 2, "max_clients": None, "seed": 0}
PARTITION = PartitionOptions(
    support_fraction=0.5,
    clients=(0.6, 0.2, 0.2),
    seed=0,
    strategy="random",
    gap=0,
    min_query=1,
)


def _table(folder, users):
    """Numbers in floats of which every order has another sum; a rare class and town."""
    draw = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "user": np.repeat([f"u{n:02}" for n in range(12)], 9),
            "height": draw.lognormal(0, 8, 108).astype(np.float32),
            "same": 0.1,
            "town": draw.choice(["Ulm", "Bonn", "Rome", ""], 108),
            "y": draw.choice(["10", "9"], 108),
        }
    )
    rows.loc[::7, "height"] = np.nan
    rows.loc[rows["user"] == "u03", ["town", "y"]] = ["Aachen", "8"]
    rows = rows[rows["user"].isin([f"u{n:02}" for n in users])]
    (folder / "raw").mkdir(parents=True)
    rows.to_csv(folder / "raw" / f"rows of {folder.name}.csv", index=False)
    return COLUMNS


def _images(folder, users):
    draw = np.random.default_rng(0)
    for user in range(12):
        for number in range(4):
            pixels = draw.integers(0, 256, (8, 8, 3), np.uint8)
            what = ["10", "9", "8"][number % 3 if user == 3 else number % 2]
            home = folder / "raw" / f"u{user:02}" / what
            if user in users:
                home.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(home / f"{number}.png")
    return {"size": 8, "colour": True}


def _tweets(folder, users):
    (path,) = write_sample(folder / "raw", 12, (4, 9), 0)
    rows = pd.read_csv(path, header=None, encoding="latin-1", dtype=str)
    names = sorted(rows[4].unique())
    own = rows[rows[4].isin([names[n] for n in users])]
    own.to_csv(path, header=False, index=False, quoting=csv.QUOTE_ALL)
    return {"lowercase": True, "min_records": 1}


KINDS = {
    "table": (_table, {"values": 3}),
    "images": (_images, {}),
    "sent140": (_tweets, {"embedding": "trained", "width": 3, "vocabulary": 20}),
}


MODELS = {
    "table": {"hidden": [4]},
    "images": {"channels": [2, 3], "hidden": 4},
    "sent140": {"hidden": 4, "layers": 1, "dense": None},
}


@pytest.fixture(params=KINDS, scope="module")
def data(request, tmp_path_factory, with_tables):
    """The name of a benchmark, and folders of a node of all clients and of three."""
    name, home = request.param, tmp_path_factory.mktemp("data")
    write, encoding = KINDS[name]
    job = Job(
        version(),
        name,
        SELECTION,
        {"support_fraction": 0.5, "seed": 0, "strategy": "random"},
        MODELS[name],
        ["maml"],
        {"maml": {"inner_lr": 0.1, "server": {"name": "adam", "lr": 0.01}}},
        tasks={"seed": 0, "resample": False, "episode": None},
    )
    shares = {"whole": range(12), **{f"node{n}": range(n, 12, 3) for n in range(3)}}
    for share, users in shares.items():
        folder = home / share
        options = write(folder, [*users])
        pack(name, folder / "raw", folder, options)
        with_tables(folder, job)
    return SimpleNamespace(
        name=name,
        entry=BENCHMARKS[name],
        encoding=encoding,
        job=job,
        whole=home / "whole",
        nodes=[home / f"node{n}" for n in range(3)],
    )


@pytest.fixture
def federation(data, link_to, monkeypatch):
    link = link_to({10 + n: Node(folder) for n, folder in enumerate(data.nodes)})
    made = Federation(link, Terms(deadline=5, poll=0.01, pause=0.05, nodes=3))
    monkeypatch.setattr(asking, "current", lambda: made)
    return made


def learned(data, select, encode):
    """Records, their split, their division and the codebook."""
    records, clients = select()
    split = here.split(clients, PARTITION)
    codebook = encode(data.entry, records, clients, split, data.encoding)
    return records, split, codebook


@pytest.fixture
def wanted(data):
    records = read_packed(data.whole / RECORDS)
    return learned(
        data,
        lambda: (records, here.select(data.entry, records, SELECTION)),
        here.encode,
    )


@pytest.fixture
def found(data, federation):
    return learned(data, lambda: asking.ask(data.entry, SELECTION), asking.learn)


def test_the_codebook_is_that_of_one_data_set(wanted, found):
    assert found[1] == wanted[1] | {"settings": found[1]["settings"]}
    assert found[2].note == wanted[2].note
    assert found[2].tables.keys() == wanted[2].tables.keys()
    for name, table in wanted[2].tables.items():
        assert table.dtype == found[2].tables[name].dtype
        assert table.equal(found[2].tables[name]), name


def test_nodes_make_the_examples_of_one_data_set(data, wanted, found):
    records, _, codebook = found
    lists = {name: records.metadata[name] for name in LISTS if name in records.metadata}
    job = data.job._replace(vocabularies=lists)
    whole = read_packed(data.whole / RECORDS)
    clients = here.select(data.entry, whole, SELECTION)
    divided = here.divide(data.entry, whole, clients, PARTITION)
    seen = data.entry.encoding(wanted[2])
    expected = task_maker(whole, clients, divided, seen, seed=0)
    compared = 0
    for folder in data.nodes:
        node = Node(folder)
        own = node._records(job.vocabularies)
        made = _prepared(own, folder, job, codebook, "key")
        for client in own.client_ids:
            for batch, other in zip(
                made.evaluation_task(client, 0)[:2],
                expected(client, 0)[:2],
                strict=True,
            ):
                assert batch.x.equal(other.x)
                assert batch.y.equal(other.y)
                compared += 1
    assert compared == 2 * 12


def test_what_nodes_tell_of_records_are_whole_numbers(data, federation, found):
    asked = [own for own in federation.link.asked if "work" in own[1].values]
    assert {node for node, _ in asked} == {10, 11, 12}
    for node, question in asked:
        answer = federation.link.held[node].answer(question)
        assert answer.values.keys() == {"answer"}
        assert answer.values["answer"].keys() == {"summaries"}
        assert not answer.arrays
        (told,) = answer.values["answer"]["summaries"]
        counts = [count for pairs in told.values() for _, count in pairs]
        assert {type(count) for count in counts} == {int}
        json.dumps(told)


def test_a_node_that_is_away_is_waited_for(data, federation, caplog):
    records, clients = asking.ask(data.entry, SELECTION)
    split = here.split(clients, PARTITION)
    asked = []

    def pause():
        asked.append(None)
        federation.link.there = {10, 11, 12}
        federation.roster._asked &= federation.roster._held.keys()

    federation.roster.pause = pause
    federation.link.there = {10, 11}
    codebook = asking.learn(data.entry, records, clients, split, data.encoding)
    assert asked
    assert "counts for the encoding:" in caplog.text
    again = asking.learn(data.entry, records, clients, split, data.encoding)
    assert all(t.equal(again.tables[n]) for n, t in codebook.tables.items())


@pytest.mark.parametrize("count", [0.5, "1", None, True])
def test_what_is_no_count_is_refused(data, federation, count, caplog):
    records, clients = asking.ask(data.entry, SELECTION)
    split = here.split(clients, PARTITION)
    good, bad = federation.link._answer, []

    def answer(node, question):
        answer = good(node, question)
        if "work" in question.values and not bad:
            bad.append(node)
            told = answer.values["answer"]["summaries"][0]
            told[min(told)] = [["x", count]]
        return answer

    federation.link._answer = answer
    codebook = asking.learn(data.entry, records, clients, split, data.encoding)
    assert "is refused" in caplog.text
    again = asking.learn(data.entry, records, clients, split, data.encoding)
    assert all(t.equal(again.tables[n]) for n, t in codebook.tables.items())


def test_nodes_of_other_columns_are_told(tmp_path, link_to, monkeypatch, with_tables):
    nodes = {}
    for place, column in enumerate(("town", "street")):
        folder = tmp_path / column
        folder.mkdir()
        rows = {"user": ["a", "a", "b", "b"], column: ["x", "y"] * 2, "y": [0, 1] * 2}
        table = pd.DataFrame(rows).assign(user=lambda t, c=column: c + t["user"])
        table.to_csv(folder / "rows.csv", index=False)
        pack("table", folder / "rows.csv", folder, COLUMNS)
        with_tables(folder, Job(version(), "table", SELECTION))
        nodes[place] = Node(folder)
    made = Federation(link_to(nodes), Terms(poll=0.01, pause=0.05, nodes=2))
    monkeypatch.setattr(asking, "current", lambda: made)
    with pytest.raises(DataError, match=r"nodes hold other records: .*'street'.*pack"):
        asking.ask(BENCHMARKS["table"], SELECTION)


def test_a_node_may_have_one_class_alone(tmp_path, link_to, monkeypatch, with_tables):
    nodes = {}
    for place, what in enumerate("ab"):
        folder = tmp_path / what
        folder.mkdir()
        users = [f"{what}{n % 3}" for n in range(9)]
        rows = pd.DataFrame({"user": users, "x": range(9)})
        rows.assign(y=what).to_csv(folder / "rows.csv", index=False)
        pack("table", folder / "rows.csv", folder, COLUMNS)
        with_tables(folder, Job(version(), "table", SELECTION))
        nodes[place] = Node(folder)
    made = Federation(link_to(nodes), Terms(poll=0.01, pause=0.05, nodes=2))
    monkeypatch.setattr(asking, "current", lambda: made)
    table = BENCHMARKS["table"]
    records, clients = asking.ask(table, SELECTION)
    assert json.loads(records.metadata["classes"]) == ["a", "b"]
    split = here.split(clients, PARTITION)
    codebook = asking.learn(table, records, clients, split, {"values": 2})
    assert int(codebook.tables["classes"]) == 2


def tweets(folder, users, text=None, **options):
    """A node of some users of a sample, which may all say the same."""
    _tweets(folder, users)
    if text is not None:
        (path,) = (folder / "raw").iterdir()
        rows = pd.read_csv(path, header=None, encoding="latin-1", dtype=str)
        rows[5] = text
        rows.to_csv(path, header=False, index=False, quoting=csv.QUOTE_ALL)
    pack("sent140", folder / "raw", folder, {"lowercase": True, **options})
    return Node(folder)


@pytest.fixture
def of_tweets(tmp_path, link_to, monkeypatch, with_tables):
    """Makes two nodes of tweets that take part."""

    def made(**of_the_second):
        nodes = {
            0: tweets(tmp_path / "a", range(6), min_records=1),
            1: tweets(tmp_path / "b", range(6, 12), min_records=1, **of_the_second),
        }
        for node in nodes.values():
            with_tables(node.folder, Job(version(), "sent140", SELECTION))
        federation = Federation(
            link_to(nodes), Terms(deadline=5, poll=0.01, pause=0.05, nodes=2)
        )
        monkeypatch.setattr(asking, "current", lambda: federation)

    return made


def test_nodes_that_were_packed_otherwise_are_told(of_tweets):
    of_tweets(lowercase=False)
    with pytest.raises(DataError, match=r"other kinds of records: .*'lowercase'.*pack"):
        asking.ask(BENCHMARKS["sent140"], SELECTION)


def test_a_node_may_have_no_words(of_tweets):
    of_tweets(text="!")
    sent140, encoding = BENCHMARKS["sent140"], KINDS["sent140"][1]
    records, clients = asking.ask(sent140, SELECTION)
    split = here.split(clients, PARTITION)
    codebook = asking.learn(sent140, records, clients, split, encoding)
    assert len(codebook.tables["hashes"]) == encoding["vocabulary"]


@pytest.mark.parametrize("data", ["sent140"], indirect=True)
def test_frozen_vectors_are_refused_with_what_to_do(data, federation):
    records, clients = asking.ask(data.entry, SELECTION)
    split = here.split(clients, PARTITION)
    options = {"embedding": "hashed", "width": 3, "vocabulary": 20}
    with pytest.raises(DataError, match=r"stay on nodes: set encoding\.embedding to"):
        asking.learn(data.entry, records, clients, split, options)


def test_a_log_of_services_stays_where_it_is(job, folders):
    asked = job._replace(benchmark="recommendation")
    question = Message("query", {"job": asked._asdict(), "work": {"clients": []}}, {})
    with pytest.raises(ValueError, match="takes more than counts"):
        Node(folders[0]).answer(question)


def run(project, pipeline, **raw):
    params = {"table": {"raw": {"sample": None, "time": None, **raw}}}
    os.chdir(project)
    bootstrap_project(project)
    with KedroSession.create(project, env="smoke", runtime_params=params) as session:
        session.run(pipeline_names=[pipeline])
    (found,) = project.glob("data/07_model_output/*/*/*/maml_scores.csv")
    return pd.read_csv(found)


@pytest.mark.slow
@pytest.mark.usefixtures("graphs_anew")
@pytest.mark.parametrize("data", ["table"], indirect=True)
def test_a_run_on_nodes_is_that_of_one_table(
    data, link_to, new_project, monkeypatch, tmp_path
):
    """Everything that `kedro run` does, to the scores of test clients."""
    monkeypatch.chdir(tmp_path)
    raw = {"folder": str(data.whole / "raw"), **COLUMNS}
    wanted = run(new_project(), "table_maml", **raw)
    link = link_to({n: Node(folder, rows=True) for n, folder in enumerate(data.nodes)})
    with taking_part(Federation(link, Terms(deadline=60, pause=0.1, nodes=3))):
        found = run(new_project(), "table_maml_federation", **raw)
    pd.testing.assert_frame_equal(found, wanted, check_exact=True)
