"""One thread: small tensors are faster so, and sums come in one order. No telemetry."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["DO_NOT_TRACK"] = "true"  # read by Kedro and by MLflow

import torch  # noqa: E402

torch.set_num_threads(1)
