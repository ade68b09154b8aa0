"""A whole federation on this machine: python tools/federation.py [--env ENV]

Draws FEMNIST's sample, gives each of three nodes its share of the writers in a folder
of its own, starts Flower's SuperLink and SuperNodes on 127.0.0.1 with TLS and node
authentication, trains MAML against FedAvg, and prints the table. What was started ends
with it. `make federation` sets up what it needs.
"""

import argparse
import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from fedmeta.benchmarks.femnist.synthetic import write_sample
from fedmeta.data.files import whole_file
from fedmeta.options import build
from fedmeta.runtime.federation.local import started
from fedmeta.runtime.federation.pack import pack
from fedmeta.stops import Stop

ROOT = Path(__file__).resolve().parent.parent
PIPELINE = "femnist_federation"
NODES = ("north", "east", "south")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--env", default="federation", help="of the configuration")
    parser.add_argument("--pipeline", default=PIPELINE)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folder = ROOT / "data" / "federation" / arguments.env
    print("The first minute goes to data, keys and nodes; logs:", folder / "local/logs")
    nodes = {name: folder / "nodes" / name for name in NODES}
    shutil.rmtree(folder, ignore_errors=True)
    deal_out(sample_of(arguments.env), folder / "raw", nodes)
    config = {"pipeline": arguments.pipeline, "env": arguments.env}
    try:
        with started(folder / "local", ROOT, nodes) as federation:
            completed = federation.run({**config, "nodes": len(nodes)})
    except Stop as stop:  # all has ended
        sys.exit(128 + stop.number)
    sys.exit(0 if completed else f"the run failed; its logs: {folder / 'local/logs'}")


def sample_of(env: str) -> dict[str, Any]:
    """The options of the sample in a configuration environment."""
    bootstrap_project(ROOT)
    with KedroSession.create(ROOT, env=env) as session:
        return session.load_context().params["femnist"]["raw"].sample


def deal_out(sample: dict[str, Any], raw: Path, nodes: dict[str, Path]) -> None:
    """Draw a sample; pack each node's share of its writers, who stay whole."""
    shards = build(write_sample, sample, "raw.sample", raw / "all")
    whole = [json.loads(shard.read_bytes()) for shard in shards]
    users = sorted(user for shard in whole for user in shard["users"])
    for place, (name, folder) in enumerate(nodes.items()):
        own = users[place :: len(nodes)]
        (raw / name).mkdir()
        for number, shard in enumerate(whole):
            held = {u: d for u, d in shard["user_data"].items() if u in own}
            part = {**shard, "users": [*held], "user_data": held}
            part["num_samples"] = [len(d["y"]) for d in held.values()]
            with whole_file(raw / name / f"all_data_{number}.json") as file:
                file.write(json.dumps(part).encode())
        pack("femnist", raw / name, folder)


if __name__ == "__main__":
    main()
