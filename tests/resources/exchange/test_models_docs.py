"""docs/costs.md: every block on the page works, its tables name every model, and its own model reaches a fill."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from resources.config import BacktestSettings
from resources.exchange.models.choose import KINDS, create, spelled
from tests.resources.exchange.cases import account, bar, flat, order, trade

PAGE = (Path(__file__).parents[3] / "docs" / "costs.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
YAML = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def my_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The page's first block of Python as the module that it says it is."""
    (tmp_path / "my_costs.py").write_text(PYTHON[0])
    monkeypatch.syspath_prepend(tmp_path)
    import my_costs

    yield my_costs
    del sys.modules["my_costs"]


def test_every_block_works(my_costs: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    configured = [BacktestSettings.model_validate(yaml.safe_load(block)["backtest"]) for block in YAML]
    assert configured[0].models_for("future", "ESM24").margin.requirement("ESM24", "future").per_unit == 15_000
    names: dict[str, object] = {"__name__": "page"}
    exec("\n".join(PYTHON[1:]), names)
    assert names["settings"] == BacktestSettings(cash=100_000, spread=configured[-1].spread)
    assert capsys.readouterr().out == "0.05\n"


def test_the_tables_name_every_model_and_the_defaults() -> None:
    for kind, (_, ours) in KINDS.items():
        section = PAGE if kind in ("borrow", "funding", "latency") else PAGE[PAGE.index(f"## {kind.capitalize()}") :]
        assert [model.name for model in ours if f"`{model.name}`" not in section] == []
        default = re.search(rf"^\| `{kind}` \| `(.*)` \|$", PAGE, re.MULTILINE)
        assert default is not None
        assert spelled(create(kind, yaml.safe_load(default[1]))) == spelled(getattr(BacktestSettings(), kind))


def test_a_model_of_ones_own_prices_a_fill(my_costs: ModuleType) -> None:
    terms = account(spread={"name": "my_costs:VolatileSpread", "floor_bps": 30})
    [fill] = trade([order("buy", 10)], [flat(100)], terms)
    assert (fill.reference_price, fill.price) == pytest.approx((100, 100.3))
    assert fill.spread_cost == pytest.approx(3.0)


@pytest.mark.parametrize("name", ["maker_taker", "bps", "tiered", "ib_tiered"])
def test_an_order_that_fills_in_parts_is_charged_for_each_of_them_once(name: str) -> None:
    given = {"name": name, **({"rates": [0.01, 0.005], "limits": [150]} if name == "tiered" else {})}
    fills = trade([order("buy", 300)], [flat(100, 100), flat(100, 100), flat(100, 100)], account(commission=given))
    whole = {"maker_taker": 30.0, "bps": 30.0, "tiered": 150 * 0.01 + 150 * 0.005, "ib_tiered": 300 * 0.0067}
    assert [fill.quantity for fill in fills] == [100, 100, 100]
    assert sum(fill.commission for fill in fills) == pytest.approx(whole[name])


def test_what_an_order_took_is_not_repriced_when_its_rest_makes_the_market() -> None:
    given = {"name": "maker_taker", "maker_bps": 1, "taker_bps": 5}
    triggered = order("buy", 200, stop=99.0, limit=100.0)
    fills = trade([triggered], [flat(100, 100), bar(102, 102, 99, 101, 100)], account(commission=given))
    assert [fill.commission for fill in fills] == pytest.approx([5.0, 1.0])
