import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from daemon import NANO, TALES, Daemon  # noqa: E402


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


def pytest_collection_modifyitems(config, items):
    """Leaves out what stands in open.txt, and says so (`deselected`)."""
    if os.environ.get("LOCUM_OPEN"):
        return
    lines = (Path(__file__).parent / "open.txt").read_text().splitlines()
    names = {line for line in lines if line and not line.startswith("#")}
    left = [item for item in items if item.name in names]
    items[:] = [item for item in items if item.name not in names]
    config.hook.pytest_deselected(items=left)
