"""The wheel that `kedro package` makes is the whole project but its configuration."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "fedmeta"


def test_files_that_are_no_modules_are_in_the_wheel() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    patterns = tools["setuptools"]["package-data"]["fedmeta"]
    packed = {path for pattern in patterns for path in SOURCE.glob(pattern)}
    others = {p for p in SOURCE.rglob("*") if p.is_file() and p.suffix != ".py"}
    assert {p for p in others if p.parent.name != "__pycache__"} == packed


@pytest.mark.slow
def test_the_wheel_runs_with_an_archive_of_configuration(tmp_path: Path) -> None:
    project, wheels = tmp_path / "project", tmp_path / "wheels"
    shutil.copytree(SOURCE, project / "src" / "fedmeta")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    plain = ["--quiet", "--no-deps"]
    subprocess.run(
        [*pip, "wheel", *plain, "--no-build-isolation", "-w", wheels, project],
        check=True,
    )
    (wheel,) = wheels.glob("*.whl")
    site, here = tmp_path / "site", tmp_path / "here"
    subprocess.run([*pip, "install", *plain, "--target", site, wheel], check=True)
    here.mkdir()
    conf = shutil.make_archive(str(tmp_path / "conf"), "gztar", ROOT, "conf")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "fedmeta", "--pipelines", "femnist_fedmeta"),
            *("--env", "smoke", "--conf-source", conf, "--params", "store=mine"),
        ],
        cwd=here,
        # A terminal that knows ASCII alone is no reason to fail either.
        env={**os.environ, "PYTHONPATH": str(site), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()
    report = here / "data/08_reporting/mine/femnist/p0.2_seed0/report.html"
    assert "Synthetic sample" in report.read_text(encoding="utf-8")
