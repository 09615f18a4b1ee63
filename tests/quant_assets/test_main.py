"""What `make` calls: a known error ends it in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from resources.config import PROJECT, load
from resources.instance import at_work


def demo(home: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "quant_assets", "demo"],
        cwd=PROJECT, env=os.environ | {"QUANT_HOME": home}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_second_demo_on_a_home_ends_at_once_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_HOME", str(tmp_path))
    with at_work(load(), "make demo"):
        done = demo(str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"BusyError: make demo (process {os.getpid()}) is at work on {tmp_path}. Wait until")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["at_work.lock"], "nothing was begun"


def test_a_home_that_cannot_be_made_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = demo(str(tmp_path / "file" / "home"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        f"ConfigError: QUANT_HOME: {tmp_path}/file/home cannot be used (Not a directory). Set"
    )
    assert done.stderr.count("\n") == 1
