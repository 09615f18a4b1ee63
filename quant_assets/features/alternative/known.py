"""Features of what was known beyond prices; null where nothing was."""

from __future__ import annotations

import math

import numpy as np

from quant_assets.features.definition import UNBOUNDED, Feature
from quant_assets.features.kernels import Function, Kernel, inner
from quant_assets.features.microstructure.windows import mean_of_known
from quant_assets.features.precision import NOTHING


def own(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """The column itself."""
    out[0] = x[0]


def less(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """The first column less the second."""
    out[0] = x[0] - x[1]


def log_count(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Log of one more than the column."""
    out[0] = np.log(1.0 + x[0])


def log_rate(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Log of one more than the first column over one more than the part of the second that `fast` of its `slow` days
    would have if all were alike."""
    out[0] = np.log((1.0 + x[0]) / (1.0 + x[1] * (p[0] / p[1])))


def mean(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Mean of what is known of `window` bars, at least half."""
    window = int(p[0])
    for i in range(window - 1, x.shape[1]):
        out[0, i] = mean_of_known(x[0, i - window + 1 : i + 1])


def less_mean(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """The column less its mean over what is known of `window` bars, at least half."""
    window = int(p[0])
    for i in range(window - 1, x.shape[1]):
        out[0, i] = x[0, i] - mean_of_known(x[0, i - window + 1 : i + 1])


@inner
def score(values: np.ndarray) -> float:
    """The last value's distance from the mean, in standard deviations, of what is known; NaN where all are alike."""
    mean = mean_of_known(values)
    total, known = 0.0, 0
    for value in values:
        if not math.isnan(value):
            total += (value - mean) ** 2
            known += 1
    usual = math.sqrt(total / known) if known else 0.0
    return (values[-1] - mean) / usual if usual > NOTHING * (1.0 + abs(mean)) else np.nan


def log_score(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Log of one more than the column, in standard deviations from its mean of `window` bars."""
    window = int(p[0])
    logs = np.log(1.0 + x[0])
    for i in range(window - 1, logs.size):
        out[0, i] = score(logs[i - window + 1 : i + 1])


_COUNT, _SIGNED, _SHARE, _SCORE = (0.0, math.inf), (-1.0, 1.0), (0.0, 1.0), (-math.sqrt(62), math.sqrt(62))


def _kernel(function: Function, columns: tuple[str, ...], *parameters: str) -> Kernel:
    """Of these columns; with the close beside them, for a bar without prices is a gap to every feature."""
    return Kernel(function, (*columns, "adj_close"), parameters)


_NOW = (
    ("earnings_yield", own, ("alt_earnings",), UNBOUNDED, "Earnings per share over the price"),
    ("earnings_change", less, ("alt_earnings", "alt_earnings_before"), UNBOUNDED,
     "Earnings per share less those of the period before, over the price"),
    ("earnings_age_days", own, ("alt_earnings_age",), _COUNT, "Days since the earnings became known"),
    ("book_to_price", own, ("alt_book_value",), UNBOUNDED, "Book value per share over the price"),
    ("sales_to_price", own, ("alt_sales",), _COUNT, "Sales per share over the price"),
    ("cash_flow_yield", own, ("alt_cash_flow",), UNBOUNDED, "Cash flow per share over the price"),
    ("dividend_yield", own, ("alt_dividends",), _COUNT, "Dividends per share over the price"),
    ("esg_score", own, ("alt_esg",), (0.0, 100.0), "ESG score"),
    ("esg_change", less, ("alt_esg", "alt_esg_before"), (-100.0, 100.0), "ESG score less that of the rating before"),
    ("esg_age_days", own, ("alt_esg_age",), _COUNT, "Days since the ESG score became known"),
    ("sentiment_score", own, ("alt_sentiment",), _SIGNED, "A vendor's latest sentiment score"),
    ("news_count_7d", log_count, ("alt_news_7d",), _COUNT, "Log of one more than the news of 7 days"),
    ("news_sentiment_7d", own, ("alt_news_mean_7d",), _SIGNED, "Mean sentiment of the news of 7 days"),
    ("news_surprise_7d_90d", less, ("alt_news_mean_7d", "alt_news_mean_90d"), (-2.0, 2.0),
     "Mean sentiment of the news of 7 days less that of 90"),
    ("insider_net_buying_90d", own, ("alt_insider_net_90d",), UNBOUNDED,
     "Shares insiders bought less sold over the volume, 90 days"),
    ("insider_trades_90d", log_count, ("alt_insider_count_90d",), _COUNT,
     "Log of one more than the insider trades of 90 days"),
    ("insider_buy_share_90d", own, ("alt_insider_bought_90d",), _SHARE, "Share of the insider trades that bought"),
)  # fmt: skip

_RATES = (
    ("news_attention_7d_90d", ("alt_news_7d", "alt_news_90d"), 7, 90, "News of 7 days against those of 90"),
    ("mentions_ratio_1d_30d", ("alt_mentions_1d", "alt_mentions_30d"), 1, 30, "Mentions of a day against those of 30"),
)

_WINDOWS = (
    ("share_turnover_21", mean, "alt_turnover", 21, _COUNT, "Mean volume over shares outstanding, 21 bars"),
    ("sentiment_change_21", less_mean, "alt_sentiment", 21, (-2.0, 2.0), "Sentiment score less its mean of 21 bars"),
    ("news_zscore_63", log_score, "alt_news_1d", 63, _SCORE, "Log news of a day, standardised over 63 bars"),
    ("mentions_zscore_63", log_score, "alt_mentions_1d", 63, _SCORE, "Log mentions of a day, standardised, 63 bars"),
)

_FAMILY = {"insider": "insider", "esg": "esg", "news": "news", "sentiment": "sentiment", "mentions": "social"}


def _family(name: str) -> str:
    return _FAMILY.get(name.split("_", maxsplit=1)[0], "fundamental")


KNOWN = (
    *(
        Feature(name, _family(name), what, _kernel(function, inputs), lookback=0, bounds=bounds)
        for name, function, inputs, bounds, what in _NOW
    ),
    *(
        Feature(
            name,
            _family(name),
            f"{what}, in logs",
            _kernel(log_rate, inputs, "fast", "slow"),
            {"fast": fast, "slow": slow},
            lookback=0,
        )
        for name, inputs, fast, slow, what in _RATES
    ),
    *(
        Feature(
            name,
            _family(name),
            what,
            _kernel(function, (column,), "window"),
            {"window": window},
            lookback=window - 1,
            bounds=bounds,
        )
        for name, function, column, window, bounds, what in _WINDOWS
    ),
)
