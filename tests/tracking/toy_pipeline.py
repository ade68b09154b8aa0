"""A Kedro pipeline with the shape of the real ones, over in milliseconds."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pandas as pd
import torch
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner

from fedmeta.checkpoints import Checkpoint
from fedmeta.core.types import Divergence, ServerState
from fedmeta.datasets import CheckpointDataset, ResultDataset
from fedmeta.pipelines.binding import bind
from fedmeta.pipelines.divergence import marked
from fedmeta.tracking import MlflowHook
from fedmeta.turns import TakeTurns

RESULTS = Path("data", "07_model_output", "demo", "toy")
GLOBALS = {"store": "demo", "seed": 7, "support_fraction": 0.2}
PARAMETERS = {
    "toy": {
        "partition": {"support_fraction": 0.2},
        "training": {"rounds": 4, "seed": 7, "device": "cpu", "clients_per_round": 2},
        "alpha": {"lr": 0.1, "server": {"name": "sgd"}},
        "beta": {"steps": 2},  # shares alpha's training
    }
}


class Config(dict):
    """Stands for a config loader."""

    runtime_params: Mapping[str, Any] = {}


class Records(NamedTuple):
    metadata: dict[str, str]
    checksum: str


def history(last: int, worse: float = 0) -> pd.DataFrame:
    """Rounds 0, 2, .. ``last``."""
    rounds = list(range(0, last + 1, 2))
    return pd.DataFrame(
        {
            "round": rounds,
            "train_loss": [float("nan")] + [1.0 / r + worse for r in rounds[1:]],
            "validation_accuracy_after": [r / 10 for r in rounds],
            "bytes_up": [100 * r for r in rounds],
        }
    )


def timing(last: int) -> list[dict[str, float]]:
    """90 seconds a round."""
    return [
        {"round": number, "training": 90.0 * number, "evaluation": 1.0}
        for number in range(0, last + 1, 2)
    ]


def train(
    records: Records,
    split: dict,
    partition: dict,
    training: dict,
    alpha: dict,
    beta: dict,
    begin: int,
    fails: BaseException | None,
    worse: float,
    pause: Callable[[int], None],
    diverged: Divergence | None,
) -> Iterator[tuple]:
    for last in range(begin, training["rounds"] + 1, 2):
        if fails is not None and last == 4:
            raise fails
        pause(last)
        state = ServerState({"theta": {"w": torch.full((2,), last)}}, {}, last)
        table = history(last, worse)
        table.attrs = {"timing": timing(last)}
        if diverged and last == diverged.round:
            table = marked(history(last - 2), diverged)
            table.attrs["timing"] = timing(last - 2)
        yield (
            Checkpoint(alpha, state, {}, training["rounds"], "", diverged),
            table,
            table.copy(),
        )


def evaluate(checkpoint: Checkpoint, records: Records) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "client_id": ["a", "b"],
            "num_query": [10, 30],
            "accuracy_sum_before": [5, 15],
            "accuracy_sum_after": [4, 30],
            "loss_sum_before": [10.0, 30.0],
            "loss_sum_after": [5.0, 15.0],
        }
    )
    found = checkpoint.diverged
    return marked(table.iloc[:0], found) if found else table


def run(
    project: Path,
    *,
    begin: int = 0,
    fails: BaseException | None = None,
    synthetic: bool = True,
    called: str = "",
    lr: float = 0.1,
    device: str = "cpu",
    rounds: int = 4,
    worse: float = 0,
    pause: Callable[[int], None] = lambda last: None,
    diverged: Divergence | None = None,
    nodes: tuple[str, ...] = (),
) -> None:
    """As `KedroSession.run` does it: the hooks are told, the runner runs.

    Args:
        project: where the store and the data are.
        begin: the round up to which an earlier training got.
        fails: raised after two rounds.
        synthetic: what the data say of themselves.
        called: the name of real data that are not the benchmark's.
        lr: of the algorithm.
        device: an option that changes no result.
        rounds: asked for.
        worse: added to the loss, as another machine might.
        pause: called before every evaluation, with its round.
        diverged: at its round, an evaluated one.
        nodes: the only ones that run; none: all.
    """
    blocks = PARAMETERS["toy"]
    blocks = {
        **blocks,
        "alpha": {**blocks["alpha"], "lr": lr},
        "training": {**blocks["training"], "device": device, "rounds": rounds},
    }
    names = ("alpha", "beta")
    told_to_train = {"begin": begin, "fails": fails, "worse": worse}
    told_to_train |= {"pause": pause, "diverged": diverged}
    pipeline = Pipeline(
        [
            Node(
                bind(
                    train,
                    begin=begin,
                    fails=fails,
                    worse=worse,
                    pause=pause,
                    diverged=diverged,
                ),
                {
                    "records": "toy.records",
                    "split": "toy.client_split",
                    **{key: f"params:toy.{key}" for key in blocks},
                },
                ["toy.alpha.checkpoint", "toy.alpha.history", "toy.beta.history"],
                name="train",
            ),
            *(
                Node(
                    evaluate,
                    ["toy.alpha.checkpoint", "toy.records"],
                    f"toy.{name}.scores",
                    name=f"evaluate_{name}",
                )
                for name in names
            ),
            Node(
                lambda *scores: pd.concat(scores),
                [f"toy.{name}.scores" for name in names],
                "toy.report.table",
                name="tabulate",
            ),
        ]
    )
    if nodes:
        pipeline = pipeline.only_nodes(*nodes)
    origin = {"synthetic": str(synthetic and not called).lower(), "name": called}
    records = Records(origin, "data-checksum")
    catalog = DataCatalog(
        {
            "toy.records": _memory(records, "data"),
            "toy.client_split": _memory({"checksum": "split-checksum"}, "split"),
            "toy.alpha.checkpoint": CheckpointDataset(
                str(project / RESULTS / "alpha.safetensors"), {"mlflow": "checkpoint"}
            ),
            **{
                f"toy.{name}.{kind}": _file(project, f"{name}_{kind}", kind)
                for name in names
                for kind in ("history", "scores")
            },
            "toy.report.table": _file(project, "table", "artifact"),
            **{f"params:toy.{key}": MemoryDataset(v) for key, v in blocks.items()},
        }
    )
    hook, turns = MlflowHook(), TakeTurns()
    hook.after_context_created(
        SimpleNamespace(
            project_path=project,
            config_loader=Config(parameters={"toy": blocks}, globals=GLOBALS),
        )
    )
    hooks = _create_hook_manager()
    hooks.register(turns)
    hooks.register(hook)
    told = {
        "pipeline": pipeline,
        "catalog": catalog,
        "run_params": {"pipeline_names": ["toy"], "env": None, "run_id": "now"},
    }
    hooks.hook.before_pipeline_run(**told)
    try:
        result = SequentialRunner().run(pipeline, catalog, hooks)
    except KeyboardInterrupt:
        hook.on_interrupt()
        turns.on_interrupt()
        raise
    except SystemExit:  # stands for a kill: no hook is told, the system frees the lock
        turns.on_interrupt()
        raise
    except Exception as error:
        hooks.hook.on_pipeline_error(error=error, **told)
        raise
    hooks.hook.after_pipeline_run(run_result=result, **told)


def _memory(data: Any = None, mark: str = "") -> MemoryDataset:
    given = {} if data is None else {"data": data}
    return MemoryDataset(**given, copy_mode="assign", metadata={"mlflow": mark})


def _file(project: Path, name: str, mark: str) -> ResultDataset:
    return ResultDataset(
        filepath=str(project / RESULTS / f"{name}.csv"),
        save_args={"index": False},
        metadata={"mlflow": mark},
    )
