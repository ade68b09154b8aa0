"""Misspelt parameters, and errors told in a line."""

import io
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
import torch
from kedro.framework.project import configure_project, pipelines, settings
from kedro.io import DatasetError

from fedmeta.configuration import Loader, store_of
from fedmeta.data.errors import DataError
from fedmeta.hooks import (
    CheckParameters,
    ShowTheWay,
    known_keys,
    refuse_unknown,
    refuse_unread,
    warn_untouched,
)
from fedmeta.reporting.shown import Shown, show
from fedmeta.session import Session, message_of, tolerate

KNOWN = {
    "seed",
    "femnist",
    "femnist.maml",
    "femnist.maml.inner_lr",
    "femnist.maml.server",
    "femnist.maml.server.name",
    "femnist.maml.server.lr",
    "femnist.raw",
    "femnist.raw.sample",
    "femnist.maml.local",
    "femnist.maml.local.*",  # null in the files
}


@pytest.mark.parametrize(
    "given",
    [
        {"seed": 1},
        {"femnist": {"maml": {"inner_lr": 0.1}}},
        {"femnist": {"raw": {"sample": None}}},
        {"femnist": {"maml": {"local": {"optimizer": {"lr": 0.1}}}}},
        # adam's own options are not in the files, but adam is
        {"femnist": {"maml": {"server": {"name": "adam", "lr": 0.1, "b1": 0.5}}}},
    ],
)
def test_known_parameters_pass(given: dict) -> None:
    refuse_unknown(given, KNOWN)


@pytest.mark.parametrize(
    ("given", "key", "nearest"),
    [
        ({"sede": 1}, "sede", "seed"),
        (
            {"femnist": {"maml": {"inner_lrr": 0.1}}},
            "femnist.maml.inner_lrr",
            "femnist.maml.inner_lr",
        ),
        ({"femnist.maml.iner_lr": 1}, "femnist.maml.iner_lr", "femnist.maml.inner_lr"),
        ({"femnist": {"mamll": {"inner_lr": 1}}}, "femnist.mamll", "femnist.maml"),
    ],
)
def test_misspelt_ones_are_refused(given: dict, key: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"unknown parameter '{key}': .*{nearest}"):
        refuse_unknown(given, KNOWN)


ROOT = Path(__file__).parents[1]


def loader_of(
    conf: Path = ROOT / "conf", env: str | None = "smoke", **given: Any
) -> Loader:
    configure_project("fedmeta")
    args = settings.CONFIG_LOADER_ARGS
    return Loader(str(conf), env=env, runtime_params=given, **args)


@pytest.fixture(scope="module")
def keys() -> set[str]:
    """Those of the project's own files."""
    return known_keys(loader_of())


@pytest.mark.parametrize("form", ["gztar", "zip", "folder"])
def test_keys_are_known_from_any_source_of_configuration(
    form: str, keys: set[str], tmp_path: Path
) -> None:
    if form == "folder":
        source = shutil.copytree(ROOT / "conf", tmp_path / "other")
    else:
        source = shutil.make_archive(str(tmp_path / "c"), form, ROOT, "conf")
    loader = loader_of(Path(source), seed=1, sede=2)
    found = known_keys(loader)
    assert found == keys
    assert loader["parameters"]["femnist"]["training"]["seed"] == 1
    with pytest.raises(ValueError, match="unknown parameter 'sede': did you mean seed"):
        refuse_unknown(loader.runtime_params, found)


@pytest.mark.parametrize("key", ["store", "seed", "support_fraction"])
def test_what_globals_yml_names_may_be_given_and_has_an_effect(key: str) -> None:
    plain, given = loader_of(), loader_of(**{key: 0.75})
    places = [
        [str(entry.get("filepath")) for entry in loader["catalog"].values()]
        for loader in (plain, given)
    ]
    changed = [one != other for one, other in zip(*places, strict=True)]
    assert all(changed) if key == "store" else any(changed)
    assert store_of(given) == ("0.75" if key == "store" else "smoke")


def test_every_key_of_globals_yml_has_an_effect() -> None:
    for key in loader_of()["globals"]:
        trees = [
            {kind: loader[kind] for kind in ("catalog", "parameters")}
            for loader in (loader_of(), loader_of(**{key: 0.75}))
        ]
        trees[1]["parameters"].pop(key)  # Kedro's own copy of what was given
        assert trees[0] != trees[1], key


def test_a_poor_terminal_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    poor = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", poor)
    with pytest.raises(UnicodeEncodeError):
        print("\u2013", file=poor, flush=True)
    tolerate(poor)
    show(Shown(["Claim"], []), "Claims of the paper \xb7 caf\xe9 \u2013 \u65e5")
    poor.flush()
    words = poor.buffer.getvalue().decode("ascii").split()
    assert words[:7] == "Claims of the paper ? caf? ?".split()


@pytest.mark.parametrize(
    "key",
    [
        "femnist.fedprox.epochs",  # fedavg's
        "femnist.fedprox.local.lr",
        "femnist.fedprox.proximal",
        "sent140.anil.inner_lr",  # maml's
        "femnist.anil.local.support_size",  # null in the files
        "femnist.nu_step.hessians.difference",  # per_fedavg's
        "femnist.fedavgm_reptile.steps",  # reptile's
        "femnist_per_fedavg_study.hf_tau4.local.lr",
        "femnist_per_fedavg_study.training.probe.steps",
        "femnist_skewed.users.options.images",
    ],
)
def test_options_that_a_block_has_from_another_are_known(
    key: str, keys: set[str]
) -> None:
    refuse_unknown({key: 2}, keys)


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("femnist.fedprox.epoch", "femnist.fedprox.epochs"),
        ("femnist.anil.inner_lrr", "femnist.anil.inner_lr"),
        ("femnist.fedavgm_reptile.epochs", "femnist.fedavgm_reptile.steps"),
        # Those of fedavg_meta's training are fedavg's, which alone decide.
        ("femnist.fedavg_meta.batch_size", "femnist.fedavg.batch_size"),
        (
            "femnist_per_fedavg_study.hf_tau4.steps",
            "femnist_per_fedavg_study.fedavg_tau4.steps",
        ),
    ],
)
def test_options_that_no_block_gives_are_refused(
    key: str, nearest: str, keys: set[str]
) -> None:
    with pytest.raises(ValueError, match=f"unknown parameter '{key}': .*{nearest}"):
        refuse_unknown({key: 2}, keys)


@pytest.mark.parametrize(
    "env", ["local", "paper", "tuned", "smoke", "reduced", "larger_steps"]
)
def test_every_block_of_the_projects_own_files_is_read(env: str) -> None:
    configure_project("fedmeta")
    args = settings.CONFIG_LOADER_ARGS
    loader = settings.CONFIG_LOADER_CLASS(str(ROOT / "conf"), env=env, **args)
    parameters = loader["parameters"]
    for pipeline in pipelines.values():
        refuse_unread(pipeline, parameters)


def test_a_block_that_nothing_reads_is_refused() -> None:
    parameters = loader_of()["parameters"]
    parameters["femnist"] |= {"traning": {"rounds": 3}, "_shared": {}}
    refuse_unread(pipelines["sent140_maml"], parameters)  # has nothing to do with it
    with pytest.raises(ValueError, match="femnist.traning .*mean femnist.training"):
        refuse_unread(pipelines["femnist_maml"], parameters)


@pytest.mark.parametrize("blocks", [None, 8, "text"])
def test_a_benchmark_without_blocks_is_left_to_other_checks(blocks: object) -> None:
    refuse_unread(pipelines["femnist_maml"], {"femnist": blocks})


@pytest.mark.parametrize(
    ("env", "pipeline", "whose"),
    [
        ("tuned", "sent140_fedmeta", "sent140"),
        ("tuned", "femnist_fedmeta", None),
        ("reduced", "femnist_tuning", None),
        ("digits", "table_maml", "table"),
        ("local", "sent140_fedmeta", None),
        (None, "sent140_fedmeta", None),
    ],
)
def test_an_environment_that_changes_nothing_is_told(
    env: str | None, pipeline: str, whose: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    warn_untouched(pipelines[pipeline], loader_of(env=env))
    told = f"environment {env} has no parameters of {whose}: this run takes those of"
    assert [told in line for line in caplog.messages] == [True] * (whose is not None)


def test_a_path_that_kedro_cannot_take_is_named() -> None:
    context = SimpleNamespace(project_path=Path("/data/{old}"))
    with pytest.raises(
        ValueError, match=r"^/data/\{old\}: Kedro's catalog takes braces"
    ):
        CheckParameters().after_context_created(context)


@pytest.mark.parametrize(
    "name", ["[old] *?", "a'b\"c", "50% #1&2", "x::y", "\xfcn\xef\nb"]
)
def test_the_project_may_lie_in_a_folder_of_any_name(name: str, tmp_path: Path) -> None:
    conf = shutil.copytree(ROOT / "conf", tmp_path / name / "conf")
    args = settings.CONFIG_LOADER_ARGS
    loader = settings.CONFIG_LOADER_CLASS(str(conf), env="smoke", **args)
    own = settings.CONFIG_LOADER_CLASS(str(ROOT / "conf"), env="smoke", **args)
    for kind in ("parameters", "catalog", "globals"):
        assert loader[kind] == own[kind]


def test_the_error_below_kedros_is_told() -> None:
    error = DatasetError("Failed while saving data to dataset\nPackedDataset(...)")
    error.__cause__ = DataError("shard.json: client f1: label 62, expected 0..61")
    assert message_of(error) == "shard.json: client f1: label 62, expected 0..61"


def test_an_os_error_is_told_with_its_place() -> None:
    error = DatasetError("Failed while saving data to a.csv.\nNo space left on device")
    error.__cause__ = OSError("No space left on device")
    assert message_of(error).startswith("Failed while saving data to a.csv. No space")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 7.3 TiB for an array"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: not enough memory: you tried"
        ),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
    ],
)
def test_a_lack_of_memory_is_told_in_a_line(error: Exception, tmp_path: Path) -> None:
    session = Session("", None, project_path=tmp_path)
    with click.Context(click.Command("run")):
        with pytest.raises(click.ClickException) as told:
            session.__exit__(type(error), error, None)
    assert told.value.message.startswith("out of memory (")
    assert "training" in told.value.message


def test_what_steers_a_terminal_is_shown() -> None:
    told = message_of(DataError("a\x1b[31m.csv: no such\nfile \u202e"))
    assert told == "a\\x1b[31m.csv: no such file \\u202e"


@pytest.mark.parametrize(
    ("outputs", "told"),
    [
        (["a.maml.scores"], []),
        (["a.report.x_table"], ["out/x.csv"]),
        (["a.report.page", "a.report.x_table", "a.report.y_table"], ["out/page.html"]),
    ],
)
def test_the_way_to_a_page_is_shown_or_else_to_tables(tmp_path, caplog, outputs, told):
    files = {"page": "page.html", "x_table": "x.csv", "y_table": "y.csv"}
    catalog = {
        name: SimpleNamespace(
            _filepath=tmp_path / "out" / files.get(kind, "scores.csv")
        )
        for name in outputs
        for kind in [name.rpartition(".")[2]]
    }
    shown = ShowTheWay()
    shown.after_context_created(SimpleNamespace(project_path=tmp_path))
    with caplog.at_level("INFO"):
        shown.after_pipeline_run(SimpleNamespace(outputs=lambda: {*outputs}), catalog)
    reports = [m for m in caplog.messages if m.startswith("Report: ")]
    assert reports == [f"Report: {path}" for path in told]
