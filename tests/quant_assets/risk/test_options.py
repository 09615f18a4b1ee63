"""Greeks and implied volatilities: worked examples, identities, a binomial tree, and AAPL's chain of June 2014."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.risk.options import MEASURES, OptionError, greeks

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "multi_asset"
NOW = datetime(2024, 1, 1, tzinfo=UTC)


def option(years: float = 0.5, **fields: Any) -> dict[str, Any]:
    base = {"ts": NOW, "spot": 42.0, "strike": 40.0, "right": "call", "rate": 0.10, "dividend_yield": 0.0,
            "style": "european", "expiry": NOW + timedelta(days=365 * years)}  # fmt: skip
    return base | fields


def one(**fields: Any) -> dict[str, Any]:
    return greeks(pl.DataFrame([option(**fields)])).row(0, named=True)


def tree(sign: int, spot: float, strike: float, years: float, rate: float, income: float, volatility: float) -> float:
    """An American option by the mean of two neighbouring trees. Source: Cox, Ross and Rubinstein (1979)."""

    def value(steps: int) -> float:
        step = years / steps
        up = math.exp(volatility * math.sqrt(step))
        chance = (math.exp((rate - income) * step) - 1 / up) / (up - 1 / up)
        worth = np.zeros(steps + 2)
        for level in range(steps, -1, -1):
            prices = spot * up ** (2.0 * np.arange(level + 1) - level)
            held = math.exp(-rate * step) * (chance * worth[1 : level + 2] + (1 - chance) * worth[: level + 1])
            worth = np.maximum(sign * (prices - strike), held if level < steps else 0.0)
        return float(worth[0])

    return (value(800) + value(801)) / 2


# Hull, "Options, Futures, and Other Derivatives", 8th edition, by example; places as printed there.
HULL = [
    ("14.6 call", {}, {"volatility": 0.20}, {"price": (4.76, 2)}),
    ("14.6 put", {"right": "put"}, {"volatility": 0.20}, {"price": (0.81, 2)}),
    ("16.1 index", {"spot": 930, "strike": 900, "rate": 0.08, "dividend_yield": 0.03, "years": 2 / 12},
     {"volatility": 0.20}, {"price": (51.83, 2)}),
    ("17 futures", {"spot": 20, "strike": 20, "rate": 0.09, "dividend_yield": 0.09, "years": 4 / 12, "right": "put"},
     {"volatility": 0.25}, {"price": (1.12, 2)}),
    ("18 greeks", {"spot": 49, "strike": 50, "rate": 0.05, "years": 0.3846}, {"volatility": 0.20},
     {"price": (2.40, 2), "delta": (0.522, 3), "gamma": (0.066, 3), "vega": (12.1, 1), "rho": (8.91, 2),
      "theta": (-4.31 / 365, 4)}),
    ("14.11 implied", {"spot": 21, "strike": 20, "years": 0.25}, {"price": 1.875}, {"volatility": (0.235, 3)}),
    ("20 American", {"spot": 50, "strike": 50, "years": 5 / 12, "right": "put", "style": "american"},
     {"volatility": 0.40}, {"price": (4.28, 2)}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "fields", "known", "answers"), HULL, ids=[case[0] for case in HULL])
def test_worked_examples_come_out_as_printed(name: str, fields: dict, known: dict, answers: dict) -> None:
    found = one(**fields, **known)
    assert {field: round(found[field], places) for field, (_, places) in answers.items()} == {
        field: round(value, places) for field, (value, places) in answers.items()
    }, name


TREES = [
    (-1, 50.0, 50.0, 5 / 12, 0.10, 0.0, 0.40),
    (-1, 36.0, 40.0, 1.0, 0.06, 0.0, 0.20),
    (1, 100.0, 90.0, 1.0, 0.03, 0.07, 0.30),
    (1, 100.0, 110.0, 0.1, 0.0, 0.04, 0.25),
    (-1, 100.0, 120.0, 2.0, 0.05, 0.02, 0.35),
]


@pytest.mark.parametrize("case", TREES)
def test_an_american_option_is_worth_what_a_tree_says(case: tuple) -> None:
    sign, spot, strike, years, rate, income, volatility = case
    found = one(years=years, spot=spot, strike=strike, right="call" if sign > 0 else "put", rate=rate,
                dividend_yield=income, volatility=volatility, style="american")  # fmt: skip
    assert found["price"] == pytest.approx(tree(*case), rel=2e-4, abs=2e-4)


def random_options(style: str, seed: int = 7, count: int = 60) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    return pl.DataFrame(
        [
            option(
                years=float(random.uniform(0.02, 3)),
                spot=100.0,
                strike=float(random.uniform(60, 160)),
                right=str(random.choice(["call", "put"])),
                rate=float(random.uniform(0.0, 0.1)),
                dividend_yield=float(random.uniform(0.0, 0.1)),
                volatility=float(random.uniform(0.1, 0.8)),
                style=style,
            )
            for _ in range(count)
        ]
    )


def test_a_call_less_a_put_is_the_forward_less_the_strike() -> None:
    frame = random_options("european")
    call = greeks(frame.with_columns(right=pl.lit("call")))
    put = greeks(frame.with_columns(right=pl.lit("put")))
    spot = frame["spot"] * (-frame["dividend_yield"] * call["time"]).exp()
    strike = frame["strike"] * (-frame["rate"] * call["time"]).exp()
    assert (call["price"] - put["price"] - (spot - strike)).abs().max() < 1e-10
    assert (call["gamma"] - put["gamma"]).abs().max() < 1e-12
    assert (call["vega"] - put["vega"]).abs().max() < 1e-10


def test_an_american_call_is_the_put_with_spot_and_strike_and_the_two_rates_exchanged() -> None:
    frame = random_options("american")  # McDonald and Schroder (1998)
    other = frame.select(
        "ts", "expiry", "volatility", "style", spot="strike", strike="spot", rate="dividend_yield",
        dividend_yield="rate", right=pl.when(pl.col("right") == "call").then(pl.lit("put")).otherwise(pl.lit("call")),
    )  # fmt: skip
    assert (greeks(frame)["price"] - greeks(other)["price"]).abs().max() < 1e-6


def test_an_american_option_is_worth_no_less_than_the_european_and_without_dividends_a_call_no_more() -> None:
    frame = random_options("american")
    american, european = greeks(frame), greeks(frame.with_columns(style=pl.lit("european")))
    assert (american["price"] - european["price"]).min() > -1e-4
    calls = frame.with_columns(right=pl.lit("call"), dividend_yield=0.0)
    plain = greeks(calls.with_columns(style=pl.lit("european")))
    american = greeks(calls)
    for name in ("price", *MEASURES):
        assert american[name].to_numpy() == pytest.approx(plain[name].to_numpy(), rel=2e-3, abs=2e-3), name


@pytest.mark.parametrize("style", ["european", "american"])
def test_the_greeks_are_the_derivatives_of_the_price(style: str) -> None:
    frame = random_options(style, count=25)
    found = greeks(frame)
    alive = pl.Series((found["price"] - intrinsic(found) > 1e-3).to_list())  # not where exercise is due at once

    def slope(name: str, step: float) -> pl.Series:
        above = greeks(frame.with_columns(pl.col(name) + step))["price"]
        below = greeks(frame.with_columns(pl.col(name) - step))["price"]
        return (above - below) / (2 * step)

    for name, column, step in (("delta", "spot", 0.05), ("vega", "volatility", 1e-3), ("rho", "rate", 1e-3)):
        difference = (found[name] - slope(column, step)).filter(alive).abs().max()
        assert isinstance(difference, float)
        assert difference < 0.02 * max(1.0, 0.02 * found[name].abs().max()), name  # type: ignore[operator]
    # What time takes is what the hedge does not earn: the equation of Black and Scholes.
    spot, gamma, delta = frame["spot"], found["gamma"], found["delta"]
    theta = (
        frame["rate"] * found["price"]
        - (frame["rate"] - frame["dividend_yield"]) * spot * delta
        - 0.5 * frame["volatility"] ** 2 * spot**2 * gamma
    ) / 365
    assert (theta - found["theta"]).filter(alive).abs().max() < 1e-4  # type: ignore[operator]


def intrinsic(frame: pl.DataFrame) -> pl.Series:
    sign = (frame["right"] == "call").cast(pl.Int8) * 2 - 1
    return (sign * (frame["spot"] - frame["strike"])).clip(lower_bound=0.0)


@pytest.mark.parametrize("style", ["european", "american"])
def test_the_implied_volatility_of_a_price_is_the_one_it_was_made_with(style: str) -> None:
    made = greeks(random_options(style))
    made = made.filter((made["vega"] > 0.5) & (made["price"] - intrinsic(made) > 0.01))
    assert made.height > 30
    found = greeks(made.drop("volatility", *MEASURES))
    assert (found["volatility"] - made["volatility"]).abs().max() < 1e-5  # type: ignore[operator]


NO_ANSWER = [
    ("below the forward's worth", option(price=2.0)),
    ("more than a share", option(price=43.0)),
    ("a put for more than its strike", option(price=41.0, right="put", style="american")),
    ("American, at what exercise gives", option(price=8.0, right="put", strike=50.0, style="american")),
    ("without a price", option(price=None)),
    ("expired", option(price=3.0, years=-0.1)),
    ("expiring now", option(price=3.0, years=0.0)),
]


@pytest.mark.parametrize(("name", "row"), NO_ANSWER, ids=[case[0] for case in NO_ANSWER])
def test_where_no_volatility_explains_the_price_all_results_are_null(name: str, row: dict) -> None:
    found = greeks(pl.DataFrame([row, option(price=4.76)], infer_schema_length=None))
    assert found.select("volatility", *MEASURES).row(0) == (None,) * 6, name
    assert found["volatility"][1] == pytest.approx(0.20, abs=1e-3)


def test_american_options_exercised_between_two_boundaries_are_null_not_wrong() -> None:
    found = one(rate=-0.03, dividend_yield=-0.01, volatility=0.2, style="american", spot=100.0, strike=100.0)
    assert found["price"] is None


def test_a_date_of_expiry_ends_at_the_close_of_that_day_in_new_york() -> None:
    row = option(volatility=0.2, expiry=date(2024, 7, 1))
    assert greeks(pl.DataFrame([row]))["time"][0] == pytest.approx((182 + 20 / 24) / 365, abs=1e-12)


WRONG = [
    ({"right": "Call"}, "row 0: right is Call; use call or put"),
    ({"style": "bermudan"}, "row 0: style is bermudan"),
    ({"spot": 0.0}, "row 0: spot is 0.0; it must be a positive number"),
    ({"strike": float("nan")}, "row 0: strike is nan"),
    ({"volatility": -0.2}, "row 0: volatility is -0.2"),
    ({"rate": float("inf")}, "row 0: rate is inf"),
    ({"ts": datetime(2024, 1, 1)}, "column ts is Datetime"),
    ({"price": 1.0}, "both of volatility and price"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[case[1] for case in WRONG])
def test_what_is_no_option_is_refused_by_row_and_field(change: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        greeks(pl.DataFrame([option(volatility=0.2) | change]))


def test_a_missing_column_is_named() -> None:
    with pytest.raises(OptionError, match="missing columns \\['strike'\\]"):
        greeks(pl.DataFrame([option(volatility=0.2)]).drop("strike"))


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared real data is not there")
def test_the_smile_of_a_real_chain() -> None:
    """AAPL at the close of 6 June 2014, 645.57, middle of bid and ask, the expiries of July and October."""
    quotes = pl.read_parquet(DATA / "options_daily_quote.parquet").filter(
        (pl.col("ts").dt.date() == date(2014, 6, 6)) & pl.col("expiry").is_in([date(2014, 7, 19), date(2014, 10, 18)])
    )
    chain = quotes.drop_nulls(["bid_close", "ask_close"]).select(
        "expiry", "strike", "right", price=(pl.col("bid_close") + pl.col("ask_close")) / 2,
        ts=pl.lit(datetime(2014, 6, 6, 20, tzinfo=UTC)), spot=645.57, rate=0.0025, dividend_yield=0.02,
        style=pl.lit("american"),
    )  # fmt: skip
    otm = (pl.col("right") == "call") == (pl.col("strike") > pl.col("spot"))
    found = greeks(chain.filter(otm & (pl.col("price") > 0.10))).sort("expiry", "strike")
    assert found.height > 150
    assert found["volatility"].null_count() == 0
    assert 0.15 < found["volatility"].min() < found["volatility"].max() < 0.60  # type: ignore[operator]
    for _, month in found.group_by("expiry"):
        by_strike = month.sort("strike")
        level = {strike: by_strike.filter(strike=strike)["volatility"][0] for strike in (500.0, 650.0, 800.0)}
        assert level[500.0] > level[650.0]  # the skew of crashes
        assert level[800.0] > level[650.0]  # and the other wing
        near = by_strike.filter(pl.col("strike").is_between(600, 700))["volatility"].diff().drop_nulls()
        assert near.abs().max() < 0.02  # type: ignore[operator]  # smooth where it trades
