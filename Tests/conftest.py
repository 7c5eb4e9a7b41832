import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from daemon import FIGURES, NANO, TALES, Daemon  # noqa: E402


def pytest_terminal_summary(terminalreporter):
    if FIGURES:
        terminalreporter.section("figures")
        for text in FIGURES:
            terminalreporter.write_line(text)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def daemon(data: Path):
    with Daemon(data, "--idle-timeout", "60s", "--threads", "2") as running:
        yield running


@pytest.fixture(scope="module")
def tales(tmp_path_factory):
    """A daemon with tales-moe and the nano model deployed, shared by a module's tests."""
    with Daemon(tmp_path_factory.mktemp("tales") / "data", "--idle-timeout", "60s", "--threads", "2") as running:
        running.deploy(TALES, "--name", "tales-moe")
        running.deploy(NANO / "qwen2moe", "--name", "nano", "--kv-type", "f32")
        yield running
