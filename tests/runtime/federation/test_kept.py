"""A node's clients are answered from the parameters that the node was last sent."""

import pandas as pd
import pytest
from click.testing import CliRunner

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.cli import cli
from fedmeta.core.trees import tree_map
from fedmeta.data.errors import DataError
from fedmeta.data.federated import read_packed
from fedmeta.runtime.federation.node import Node
from fedmeta.runtime.federation.rounds import _question
from fedmeta.runtime.federation.tables import RECORDS
from fedmeta.serving import Personaliser, load_node, personalise

FEMNIST = BENCHMARKS["femnist"]


@pytest.fixture
def node(whole, tmp_path):
    (tmp_path / RECORDS).symlink_to(whole / RECORDS)
    return Node(tmp_path)


@pytest.fixture
def told(node, job, codebook):
    """Lets the node answer a message about its first client."""
    records = read_packed(node.folder / RECORDS)

    def tell(kind, meta, **work):
        work["clients"] = [records.client_ids[0]]
        node.answer(_question(kind, job, codebook, meta, work))

    return tell


@pytest.fixture
def rows(node):
    """Two clients' records as rows, of which the last of each is to be predicted."""
    records, found = read_packed(node.folder / RECORDS), []
    for client in records.client_ids[:2]:
        columns = records.columns(client)
        labels = [*map(str, columns["label"][:-1]), None]
        pixels = [*(columns["pixels"] / 255).tolist()]
        found.append(pd.DataFrame({"label": labels, "pixels": pixels, "user": client}))
    return pd.concat(found, ignore_index=True)


@pytest.mark.parametrize(
    ("kind", "work"), [("train", {"round_number": 1}), ("evaluate", {"name": "maml"})]
)
def test_they_are_answered_as_by_the_servers_own_model(
    node, told, rows, job, codebook, here, kind, work
):
    model, maml, _, meta = here
    told(kind, tree_map(lambda leaf: 2 * leaf, meta), **work)
    told(kind, meta, **work)
    own = Personaliser(
        FEMNIST.table_form,
        read_packed(node.folder / RECORDS).metadata,
        codebook,
        FEMNIST.encoding(codebook),
        model,
        maml,
        meta,
    )
    wanted = personalise(own, rows, 3)
    found = personalise(load_node("femnist.maml", node.folder), rows, 3)
    assert len(found) == 6
    pd.testing.assert_frame_equal(found, wanted, check_exact=True)


def test_by_the_command_too(node, told, rows, here, tmp_path):
    told("train", here[3], round_number=1)
    rows.to_json(tmp_path / "own.json", orient="records")
    words = ["personalise", "femnist.maml", str(tmp_path / "own.json")]
    words += ["--node", str(node.folder), "--format", "csv"]
    done = CliRunner().invoke(cli, words, obj=object())
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("user,row,label,score")
    done = CliRunner().invoke(cli, [*words, "--env", "smoke"], obj=object())
    assert done.exit_code == 2
    assert "--node takes the place of a run" in done.stderr


def test_what_the_node_was_never_sent_is_refused(node, told, job, here):
    with pytest.raises(DataError, match=r"no parameters of femnist\.maml, but of not"):
        load_node("femnist.maml", node.folder)
    told("train", here[3], round_number=1)
    with pytest.raises(DataError, match=r"femnist\.anil, but of femnist\.maml"):
        load_node("femnist.anil", node.folder)


def test_parameters_of_another_version_are_refused(node, told, here, monkeypatch):
    told("train", here[3], round_number=1)
    monkeypatch.setattr("fedmeta.serving.on_node.version", lambda: "other")
    with pytest.raises(DataError, match="of a training by another version"):
        load_node("femnist.maml", node.folder)
