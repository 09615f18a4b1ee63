"""docs/strategies.md: its blocks run, its table has every strategy and parameter, its configuration is accepted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from quant_assets.features.panel import panel_schema
from quant_assets.features.sets import load_set
from quant_assets.strategies import STRATEGIES, check_panel, create
from resources.config import StrategySettings
from resources.errors import ConfigError

PAGE = (Path(__file__).parents[3] / "docs" / "strategies.md").read_text(encoding="utf-8")
ROWS = {
    row[1]: row[2] for row in re.finditer(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", PAGE, re.MULTILINE) if row[1] in STRATEGIES
}
CORE, SHIPPED, NEWS = load_set("core").names, load_set("strategies").names, load_set("news").names


def test_every_block_runs_after_the_ones_before(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    exec(compile(blocks, "docs/strategies.md", "exec", dont_inherit=True), {"__name__": "page"})
    reason, fills, sharpe = capsys.readouterr().out.rsplit(maxsplit=2)
    assert re.search("55-session|20-session", reason)
    assert int(fills) > 0
    assert float(sharpe) != 0


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_table_has_every_strategy_with_its_parameters_and_defaults(name: str) -> None:
    stated = yaml.safe_load("{" + ROWS[name].replace("`", "") + "}")
    assert stated == {parameter: field.default for parameter, field in STRATEGIES[name].model_fields.items()}


def test_the_configuration_on_the_page_is_accepted() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    asked = yaml.safe_load(block)
    columns = panel_schema([*CORE, *SHIPPED])
    for settings in asked["strategies"]:
        check_panel(create(StrategySettings(**settings)), columns)


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_sets_hold_what_every_strategy_reads(name: str) -> None:
    check_panel(STRATEGIES[name](), panel_schema([*CORE, *SHIPPED, *(NEWS if name == "news_sentiment" else ())]))


def test_the_set_has_nothing_that_no_strategy_reads() -> None:
    read = {name for kind in STRATEGIES.values() for name in kind().required_features}
    assert set(SHIPPED) <= read


def test_what_the_panel_does_not_hold_is_named() -> None:
    with pytest.raises(
        ConfigError, match=r"risk_parity: reads \['average_correlation_63'\].*features: \[core, strategies\]"
    ):
        check_panel(STRATEGIES["risk_parity"](), panel_schema(CORE))


def test_docstrings_name_a_source() -> None:
    without = [name for name, kind in STRATEGIES.items() if "Source: " not in (kind.__doc__ or "")]
    assert without == ["model_score"], "which is the model's own"
