"""Misspelt parameters, and errors told in a line."""

import pytest
from kedro.io import DatasetError

from fedmeta.data.errors import DataError
from fedmeta.hooks import refuse_unknown
from fedmeta.session import message_of

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


def test_the_error_below_kedros_is_told() -> None:
    error = DatasetError("Failed while saving data to dataset\nPackedDataset(...)")
    error.__cause__ = DataError("shard.json: client f1: label 62, expected 0..61")
    assert message_of(error) == "shard.json: client f1: label 62, expected 0..61"


def test_an_os_error_is_told_with_its_place() -> None:
    error = DatasetError("Failed while saving data to a.csv.\nNo space left on device")
    error.__cause__ = OSError("No space left on device")
    assert message_of(error).startswith("Failed while saving data to a.csv. No space")
