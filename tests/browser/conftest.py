"""A finished smoke run in a copy of the project, and a browser to look at it with."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import BIN, ENVIRONMENT, START_S, server

CHROMIUM = [
    "--headless",
    "--no-sandbox",  # tests may run as root, in a container
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1600,1200",
]


@pytest.fixture(scope="session")
def project(new_project: Callable[[], Path]) -> Path:
    """The project's configuration in a folder of its own, after a smoke run."""
    folder = new_project()
    command = [BIN / "kedro", "run", "--pipelines", "femnist_fedmeta", "--env", "smoke"]
    done = subprocess.run(
        command,
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="session")
def viz(project: Path) -> Iterator[str]:
    """Address of Kedro-Viz on the finished run."""
    with server(project, "kedro viz run --no-browser --env smoke") as address:
        yield address


@pytest.fixture(scope="session")
def mlflow_ui(project: Path) -> Iterator[str]:
    """Address of MLflow's UI on the finished run."""
    with server(project, "mlflow ui --workers 1") as address:
        yield address


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium with an empty profile, driven by Selenium."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no Chromium: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in CHROMIUM:
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    service = webdriver.ChromeService(driver)
    window = webdriver.Chrome(options=options, service=service)
    window.set_page_load_timeout(START_S)
    try:
        yield window
    finally:
        window.quit()


@pytest.fixture
def see(browser: Any) -> Callable[..., Any]:
    """``see(script)`` waits until a script returns something, and returns that."""

    def wait(script: str, seconds: float = 90) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := browser.execute_script(script):
                return found
            time.sleep(0.5)
        shown = browser.execute_script("return document.body.innerText")
        raise AssertionError(f"not seen in {seconds} s: {script}\n{shown[:2000]}")

    return wait
