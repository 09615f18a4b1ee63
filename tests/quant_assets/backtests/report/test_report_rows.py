"""The rows of the report: small prices, what was earned beside what was paid, limits among the assumptions."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from quant_assets.backtests import report
from quant_assets.backtests.report import rows
from resources.config import BacktestSettings, LimitSettings
from tests.quant_assets.backtests.report.reports import a_benchmark, a_provenance, a_result, with_metrics

PRICES = [  # price, how it is told
    (50.02, "50.0200"),
    (43_210.5, "43,210.5000"),
    (1.0, "1.0000"),
    (0.5, "0.50"),
    (0.12345678, "0.1235"),
    (0.00001234, "0.00001234"),
    (0.000012346789, "0.00001235"),
    (0.0, "0.0000"),
]


@pytest.mark.parametrize(("price", "told"), PRICES)
def test_a_price_is_told_with_digits_that_say_something(price: float, told: str) -> None:
    result = a_result(price=price)
    assert rows.trades(result)[0]["price"] == told


def test_a_fill_is_worth_what_it_is_in_account_currency() -> None:
    result = a_result(price=50.0, quantity=2.0, multiplier=50.0)
    assert rows.trades(result)[0]["value"] == "5,000"


def test_what_was_earned_is_no_cost() -> None:
    plain = a_result()
    earning = replace(plain, equity=plain.equity.with_columns(interest=pl.lit(-10.0)))
    told = {cost.name: cost for cost in rows.costs(earning)}
    sessions = plain.equity.height
    assert (told["Interest"].amount, told["Interest"].beside, told["Interest"].width) == (
        f"{10 * sessions:,}", "earned", 0.0,
    )  # fmt: skip
    shares = [float(cost.beside.rstrip("%")) for cost in told.values() if cost.beside != "earned"]
    assert sum(shares) == pytest.approx(100, abs=2)
    assert all(share >= 0 for share in shares)
    assert max(cost.width for cost in told.values()) == 100
    note = rows.cost_note(with_metrics(earning, cost_drag=-0.044))
    assert f"and {10 * sessions:,} earned: -4.4% of equity a year (more was earned than paid)." in note
    assert "earned" not in rows.cost_note(plain)


def test_limits_in_force_are_among_the_assumptions() -> None:
    def page(settings: BacktestSettings) -> str:
        return report.page(a_result(), a_benchmark(), a_provenance(settings=settings))

    told = page(BacktestSettings(limits=LimitSettings(single_name=0.2)))
    assert "break a pre-trade limit were refused before they were sent: gross 1, net 1, single_name 0.2," in told
    assert "pre-trade limit" not in page(BacktestSettings())


@pytest.mark.parametrize(("symbols", "words"), [(["AAA"], "1 symbol;"), (["AAA", "BBB"], "2 symbols;")])
def test_one_symbol_is_one(symbols: list[str], words: str) -> None:
    assert words in rows.subtitle([], a_provenance(symbols=symbols))
