"""Misspelt parameters, and errors told in a line."""

from pathlib import Path
from types import SimpleNamespace

import click
import pytest
import torch
from kedro.config import OmegaConfigLoader
from kedro.framework.project import configure_project, settings
from kedro.io import DatasetError

from fedmeta.data.errors import DataError
from fedmeta.hooks import known_keys, refuse_unknown
from fedmeta.session import Session, message_of

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


@pytest.fixture(scope="module")
def keys() -> set[str]:
    """Those of the project's own files."""
    configure_project("fedmeta")
    conf = Path(__file__).parents[1] / "conf"
    loader = OmegaConfigLoader(str(conf), env="smoke", **settings.CONFIG_LOADER_ARGS)
    return known_keys(SimpleNamespace(config_loader=loader))


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
        "femnist_perfedavg.hf_tau4.local.lr",
        "femnist_perfedavg.training.probe.steps",
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
        ("femnist_perfedavg.hf_tau4.steps", "femnist_perfedavg.fedavg_tau4.steps"),
    ],
)
def test_options_that_no_block_gives_are_refused(
    key: str, nearest: str, keys: set[str]
) -> None:
    with pytest.raises(ValueError, match=f"unknown parameter '{key}': .*{nearest}"):
        refuse_unknown({key: 2}, keys)


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
