"""Sealed files of tensors and a JSON value, as safetensors: no code in them."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fedmeta.data.errors import DataError
from fedmeta.data.files import whole_path
from fedmeta.data.seal import seal, unsealed, verify


def write_tensors(
    path: Path, kind: str, tensors: dict[str, Tensor], header: Any
) -> None:
    """Write tensors and a JSON value to a sealed file, whole or not at all."""
    # One entry: safetensors writes several in any order, another at every time.
    text = json.dumps([unsealed(kind), header])
    with whole_path(path) as temporary:
        save_file(tensors, temporary, metadata={"header": text})
        seal(temporary, kind)


def read_header(path: Path) -> Any:
    """The JSON value of a file of `write_tensors`, whose seal is not looked at.

    Raises:
        DataError: for a file that is none.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads(file.metadata()["header"])[1]
    except (SafetensorError, ValueError, TypeError, KeyError, IndexError) as error:
        raise DataError(f"{path}: not a file of this project ({error})") from None


def read_tensors(path: Path, kind: str, remedy: str) -> tuple[dict[str, Tensor], Any]:
    """What `write_tensors` wrote; a DataError for anything else."""
    verify(path, kind, remedy)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()["header"])[1]
