"""Seconds that a round takes for going over Flower, and memory of a node.

    .venv-federation/bin/python benchmarks/federation_rounds.py [--rounds 5]

Exact MAML on the FEMNIST network of the paper (6.6 M parameters, 26 MB), 4 clients of
the sample a round, on three nodes here and in one process. `make federation` makes
the environment.
"""

import argparse
import json
import re
import shutil
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from kedro.framework.session import KedroSession

from fedmeta.checkpoints import read_checkpoint
from fedmeta.runtime.federation.local import started

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tools"))
from federation import NODES, deal_out, sample_of  # noqa: E402

NETWORK = {"channels": [32, 64], "hidden": 2048}
EVERY_S = 0.2  # between two looks at memory
NODE = ("federation.lasting", "federation.supernode", "federation.executor")
KINDS = (*NODE, "flower-superlink", "flwr-serverapp")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="the first is left out")
    rounds = parser.parse_args().rounds
    folder = ROOT / "data" / "federation" / "benchmark"
    shutil.rmtree(folder, ignore_errors=True)
    for store in ("benchmark_nodes", "benchmark_here"):
        shutil.rmtree(ROOT / "data" / "06_models" / store, ignore_errors=True)
    nodes = {name: folder / name for name in NODES}
    deal_out(sample_of("federation"), folder / "raw", nodes)
    loop = {"rounds": rounds, "clients_per_round": 4, "evaluate_every": 1}
    options = {"training": {**loop, "evaluation_clients": 1}, "model": NETWORK}
    with started(folder / "local", ROOT, nodes) as federation:
        peak: dict[str, float] = {}
        threading.Thread(target=watch, args=(peak,), daemon=True).start()
        given = [
            f"femnist.{block}.{name}={json.dumps(value, separators=(',', ':'))}"
            for block, held in options.items()
            for name, value in held.items()
        ]
        params = ",".join(["store=benchmark_nodes", *given])
        wanted = {"pipeline": "femnist_maml_federation", "params": params, "nodes": 3}
        if not federation.run(wanted):
            sys.exit("the run failed")
    there = {"store": "benchmark_here", "femnist": options}
    with KedroSession.create(ROOT, runtime_params=there) as session:
        session.run(pipeline_names=["femnist_maml"])
    over, here = (seconds(store) for store in ("benchmark_nodes", "benchmark_here"))
    print(f"a round over Flower {over:.2f} s, in one process {here:.2f} s")
    for process, megabytes in peak.items():
        print(f"{process}: at most {megabytes:.0f} MB of its own")


def seconds(store: str) -> float:
    """Seconds a round of a finished training, without the first, which prepares."""
    (link,) = ROOT.glob(f"data/06_models/{store}/**/maml.safetensors")
    _, first, *_, last = read_checkpoint(link).timing
    rounds = last["round"] - first["round"]
    return (last["training"] - first["training"]) / rounds


def watch(peak: dict[str, float]) -> None:
    """Note the greatest anonymous memory, in MB, of each kind of process."""
    here = str(Path(sys.executable).parent)
    while True:
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, TypeError):  # it has ended, or is a zombie
                command = (place / "cmdline").read_text()
                status = (place / "status").read_text()
                kilobytes = int(re.search(r"RssAnon:\s+(\d+)", status)[1])
                for kind in (kind for kind in KINDS if here in command):
                    if kind in command:
                        peak[kind] = max(peak.get(kind, 0), kilobytes / 1e3)
        time.sleep(EVERY_S)


if __name__ == "__main__":
    main()
