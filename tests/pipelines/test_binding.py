"""Node functions as Kedro runs them."""

from weakref import WeakSet

from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner

from fedmeta.pipelines.binding import bind, node
from fedmeta.pipelines.data import Data


class Checkpoint:
    """Large."""


def test_chunks_are_let_go_once_they_are_saved():
    alive, counts = WeakSet(), []

    def train(rounds):
        for number in range(rounds):
            checkpoint = Checkpoint()
            alive.add(checkpoint)
            counts.append(len(alive))
            yield checkpoint, number, -number

    saved = {name: MemoryDataset(copy_mode="assign") for name in ("c", "h", "g")}
    node = Node(bind(train, rounds=20), None, list(saved))
    SequentialRunner().run(Pipeline([node]), DataCatalog(saved))
    assert isinstance(saved["c"].load(), Checkpoint)
    assert (saved["h"].load(), saved["g"].load()) == (19, -19)
    # The new one, and the one before: in the catalog, and in Kedro's hands.
    assert max(counts) == 2


def test_inputs_follow_from_the_names_of_arguments():
    def tell(benchmark, records, partition, users, start=None, **algorithms): ...

    made = node(bind(tell, benchmark="b"), "out", "study", "x", {"maml": "m"}, data="d")
    assert made.name == "x.tell_study"
    assert made.inputs == ["d.records", "params:d.partition", "params:study.users", "m"]
    other = node(tell, "out", "home", "x", {"records": "theirs"}, name="say")
    assert "theirs" in other.inputs and "params:home.partition" in other.inputs
    assert other.name == "x.say_home"


def test_prepared_data_are_put_together():
    def judge(benchmark, data, users): ...

    parts = ["records", "clients", "client_split", "support_query", "codebook"]
    made = node(bind(judge, benchmark="b"), "out", "study", "x", data="d")
    assert made.inputs == [*(f"d.{part}" for part in parts), "params:study.users"]

    def count(undivided):
        yield undivided, undivided._asdict()

    whole = node(bind(count), ["data", "parts"], "home", "x")
    parts.remove("support_query")
    assert whole.inputs == [f"home.{part}" for part in parts]
    ((data, found),) = whole.func(**dict(zip(parts, "rcsb", strict=True)))
    assert data == Data("r", "c", "s", None, "b")
    assert found["support_query"] is None
