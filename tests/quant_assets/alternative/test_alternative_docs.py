"""docs/alternative.md: its code runs, its configuration is accepted, every source and key is on it."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import get_args

import pytest
import yaml

from resources.config_alternative import AlternativeSettings, AnySource

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "alternative.md").read_text(encoding="utf-8")


def test_its_code_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    exec(compile(blocks, "docs/alternative.md", "exec", dont_inherit=True), {"__name__": "page"})
    versions, standing = (int(number) for number in re.findall(r"\d+", capsys.readouterr().out))
    assert versions > standing > 50


def test_its_configurations_are_accepted() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        AlternativeSettings.model_validate(yaml.safe_load(block)["alternative"])
    listed = re.findall(r"(?:^    [- ] .*\n)+", PAGE, re.MULTILINE)
    assert len(listed) == 5
    for entry in listed:
        for source in yaml.safe_load(textwrap.dedent(entry)):
            AlternativeSettings.model_validate({"sources": [source]})


def test_every_source_is_in_the_table_with_what_it_has() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE))
    for kind in get_args(AnySource):
        name = get_args(kind.model_fields["name"].annotation)[0]
        has = rows[name]
        words = {"news": "news", "social": "posts"}
        assert name == "synthetic" or all(words.get(each, each) in has for each in kind.has), name


def test_every_key_it_names_is_in_the_example_of_the_environment() -> None:
    keys = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", PAGE))
    assert len(keys) >= 6
    told = (ROOT / "configs" / ".env.example").read_text()
    assert {key for key in keys if f"# {key}=" not in told} == set()
