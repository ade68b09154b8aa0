"""Memory of a second-order step is that of a chunk, however long a role is."""

import subprocess
import sys
from pathlib import Path

import pytest

MEASURE = r"""
import re, sys
import torch
from fedmeta.core.algorithms import maml
from fedmeta.core.optimizers import sgd
from fedmeta.core.types import Batch, Task
from fedmeta.models.lstm import character_lstm

torch.set_num_threads(1)
model = character_lstm(53, hidden=32)
chunk = None if sys.argv[1] == "whole" else int(sys.argv[1])
algorithm = maml(model.loss, inner_lr=0.1, server=sgd(0.1), chunk=chunk)
meta = {"theta": model.init(0)}

def update(windows):
    x = torch.randint(53, (windows, 80), dtype=torch.uint8)
    part = Batch(x, torch.randint(53, (windows,)))
    algorithm.client_update(meta, Task(part, part, torch.zeros(0, 2 * windows).long()))
    # Not getrusage: that knows the peak of the process that started this one as well.
    status = open("/proc/self/status").read()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024

print(update(128), update(1024))
"""


def peaks_mb(chunk: str) -> list[float]:
    """Peak memory after clients of 128 and of 1,024 windows in each set."""
    command = [sys.executable, "-c", MEASURE, chunk]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="Linux alone tells a peak so"
)
def test_a_longer_role_takes_no_more_memory():
    short, long = peaks_mb("128")
    assert long - short < 50
    _, whole = peaks_mb("whole")
    assert whole - long > 200  # what the chunks saved
