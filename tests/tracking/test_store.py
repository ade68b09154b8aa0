"""A store that several processes open."""

import subprocess
import sys
from pathlib import Path

OPEN = """
import sys, time
from pathlib import Path
from fedmeta.tracking.store import Store
folder = Path(sys.argv[1])
(folder / f"ready{sys.argv[2]}").touch()
while len(list(folder.glob("ready*"))) < 2:
    time.sleep(0.001)
store = Store(f"sqlite:///{folder}/mlflow.db", folder / "artifacts")
print(store.experiment("toy", "note"))
"""


def test_two_processes_open_a_new_store_at_once(tmp_path: Path) -> None:
    opened = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, str(tmp_path), str(number)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    answers = [process.communicate(timeout=120) for process in opened]
    assert [process.returncode for process in opened] == [0, 0], answers
    assert len({out.strip() for out, _ in answers}) == 1  # the same experiment
