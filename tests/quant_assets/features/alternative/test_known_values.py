"""Values against the formulas, written out a second time in plain numpy."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from quant_assets.features.alternative import ALTERNATIVE
from quant_assets.features.engine import evaluate
from quant_assets.features.example import example_bars

BARS = example_bars(seed=4, sessions=300, symbols=("ONE",))
LAST = 130
"""Bars from the end that are compared; the records of some are missing."""


def column(name):
    return BARS[f"alt_{name}"].cast(pl.Float64).fill_null(np.nan).to_numpy()


def window(values, i, n):
    found = values[i - n + 1 : i + 1]
    found = found[~np.isnan(found)]
    return found if 2 * len(found) >= n else np.array([np.nan])


def own(name):
    return lambda i: column(name)[i]


def score(name, n=63):
    logs = np.log1p(column(name))
    return lambda i: (logs[i] - window(logs, i, n).mean()) / window(logs, i, n).std()


FORMULAS = {
    "earnings_yield": own("earnings"),
    "earnings_change": lambda i: column("earnings")[i] - column("earnings_before")[i],
    "earnings_age_days": own("earnings_age"),
    "book_to_price": own("book_value"),
    "sales_to_price": own("sales"),
    "cash_flow_yield": own("cash_flow"),
    "dividend_yield": own("dividends"),
    "esg_score": own("esg"),
    "esg_change": lambda i: column("esg")[i] - column("esg_before")[i],
    "esg_age_days": own("esg_age"),
    "sentiment_score": own("sentiment"),
    "news_count_7d": lambda i: math.log1p(column("news_7d")[i]),
    "news_sentiment_7d": own("news_mean_7d"),
    "news_surprise_7d_90d": lambda i: column("news_mean_7d")[i] - column("news_mean_90d")[i],
    "insider_net_buying_90d": own("insider_net_90d"),
    "insider_trades_90d": lambda i: math.log1p(column("insider_count_90d")[i]),
    "insider_buy_share_90d": own("insider_bought_90d"),
    "news_attention_7d_90d": lambda i: math.log((1 + column("news_7d")[i]) / (1 + column("news_90d")[i] * 7 / 90)),
    "mentions_ratio_1d_30d": lambda i: math.log((1 + column("mentions_1d")[i]) / (1 + column("mentions_30d")[i] / 30)),
    "share_turnover_21": lambda i: window(column("turnover"), i, 21).mean(),
    "sentiment_change_21": lambda i: column("sentiment")[i] - window(column("sentiment"), i, 21).mean(),
    "news_zscore_63": score("news_1d"),
    "mentions_zscore_63": score("mentions_1d"),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formula(name):
    found = evaluate(ALTERNATIVE.pick([name]), BARS.lazy()).collect()[name].tail(LAST)
    wanted = np.array([FORMULAS[name](i) for i in range(BARS.height - LAST, BARS.height)])
    assert 20 < np.isfinite(wanted).sum() < LAST
    np.testing.assert_allclose(found.fill_null(np.nan).to_numpy(), wanted, rtol=1e-9, atol=1e-12)


def test_every_feature_is_checked_here():
    assert set(FORMULAS) == set(ALTERNATIVE.names)


def test_without_records_every_feature_is_null_and_none_is_missing():
    plain = evaluate(ALTERNATIVE, BARS.lazy().select(pl.exclude("^alt_.*$"))).collect()
    assert plain.select(ALTERNATIVE.names).null_count().row(0) == (BARS.height,) * len(ALTERNATIVE)


def test_a_count_that_never_changes_has_no_score():
    still = BARS.with_columns(alt_news_1d=pl.lit(3.0))
    assert evaluate(ALTERNATIVE.pick(["news_zscore_63"]), still.lazy()).collect()["news_zscore_63"].null_count() == 300
