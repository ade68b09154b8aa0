"""Records of runs, stopped while they are written."""

from pathlib import Path

import pandas as pd
import pytest

from fedmeta.tracking.record import KILLED, Record


def test_a_table_whose_copy_was_stopped_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that named it could be neither logged nor resumed."""
    history = pd.DataFrame({"round": [0, 2], "loss": [1.0, 0.5]})
    history.to_csv(tmp_path / "maml_history.csv", index=False)
    record = Record(tmp_path / "run", "toy", "maml", tags={"algorithm": "maml"})

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("fedmeta.tracking.record.shutil.copyfile", stopped)
        record.keep_table("history", tmp_path / "maml_history.csv", ["0", "2"])
    record.end(KILLED)
    record.write()
    for found in (record, Record.read(record.folder)):
        assert found.table("history") is None
        assert found.agrees(history)
    record.keep_table("history", tmp_path / "maml_history.csv", ["0", "2"])
    assert record.table("history").equals(history)


def test_a_table_that_somebody_removed_is_none(tmp_path: Path) -> None:
    history = pd.DataFrame({"round": [0], "loss": [1.0]})
    history.to_csv(tmp_path / "maml_history.csv", index=False)
    record = Record(tmp_path / "run", "toy", "maml", tags={"algorithm": "maml"})
    record.keep_table("history", tmp_path / "maml_history.csv", ["0"])
    (record.folder / "maml_history.csv").unlink()
    assert record.table("history") is None
    assert record.agrees(history)
