"""LEAF's files, written for tests."""

import json
from pathlib import Path
from typing import Any


def write_shard(path: Path, users: dict[str, tuple[list, list]], **more: Any) -> Path:
    """A shard in LEAF's order, of `user -> (x, y)` and further members."""
    content = {
        "users": list(users),
        "num_samples": [len(y) for _, y in users.values()],
        **more,
        "user_data": {u: {"x": x, "y": y} for u, (x, y) in users.items()},
    }
    path.write_text(json.dumps(content))
    return path
