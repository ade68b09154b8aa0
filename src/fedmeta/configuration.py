"""Kedro's configuration loader, for a project in a folder of any name."""

import glob
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem
from kedro.config import OmegaConfigLoader


class Loader(OmegaConfigLoader):
    """Kedro's own looks for nothing in ``/data/[old]``: it takes ``[`` for a pattern.

    Where a version of Kedro no longer asks the method below, all is as with its own.
    """

    @staticmethod
    def _initialise_filesystem_and_protocol(conf_source: str) -> tuple[Any, str]:
        found, protocol = OmegaConfigLoader._initialise_filesystem_and_protocol(
            conf_source
        )
        return (_Folder(conf_source) if protocol == "file" else found), protocol


class _Folder(LocalFileSystem):
    """Local files, searched below a folder whose own name is no pattern."""

    def __init__(self, root: str) -> None:
        super().__init__()
        self._root = Path(root)

    def glob(self, path: str, **_: Any) -> list[str]:
        pattern = str(Path(path).relative_to(self._root))
        names = glob.glob(
            pattern, root_dir=self._root, recursive=True, include_hidden=True
        )
        return [str(self._root / name) for name in names]
