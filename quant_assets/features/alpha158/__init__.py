"""The 158 features of qlib's Alpha158 handler (Yang et al. (2020), Qlib: An AI-oriented Quantitative Investment
Platform), by its own expressions, so that models can be compared like for like. Values agree with qlib's operators
(tests/quant_assets/features/alpha158) but for this:

- a value is null until its window is full, where qlib takes what there is of one;
- what divides by a range, a sum of changes or a mean of nothing is 0, as qlib's 1e-12 makes it, at any level of
  prices; over a volume of zero it is null, where qlib divides by 1e-12;
- R squared and correlations are null where the window's values are alike to 1e-9 of the price, where qlib wants a
  standard deviation of 2e-5 in whatever unit;
- one share, in CORR's log(volume + 1), is one as traded at the time: splits that come later change nothing;
- values of prices that differ by rounding (1e-9) are equal;
- VWAP0 takes the column vwap (as traded, like close) if the bars have it, else (high + low + close) / 3;
- all is computed in 64 bits: qlib stores bars as 32 bits, does its differences, quotients and logs in 32 bits, and
  returns 32 bits.
"""

from __future__ import annotations

import math

from quant_assets.features.alpha158.candles import average_price, candle
from quant_assets.features.alpha158.prices import extremes, moves, order, regression
from quant_assets.features.alpha158.volumes import change_change, price_volume, volumes
from quant_assets.features.alpha158.windows import WINDOWS
from quant_assets.features.definition import UNBOUNDED, Feature, FeatureSet

_ANY, _POSITIVE, _SHARE, _SIGNED = UNBOUNDED, (0.0, math.inf), (0.0, 1.0), (-1.0, 1.0)

_CANDLES = (
    # name      bounds           description                                      qlib's expression
    ("kmid", (-1.0, math.inf), "Body of the bar over its open", "($close-$open)/$open"),
    ("klen", _POSITIVE, "Range of the bar over its open", "($high-$low)/$open"),
    ("kmid2", _SIGNED, "Body of the bar over its range", "($close-$open)/($high-$low+1e-12)"),
    ("kup", _POSITIVE, "Upper shadow of the bar over its open", "($high-Greater($open, $close))/$open"),
    ("kup2", _SHARE, "Upper shadow of the bar over its range", "($high-Greater($open, $close))/($high-$low+1e-12)"),
    ("klow", _SHARE, "Lower shadow of the bar over its open", "(Less($open, $close)-$low)/$open"),
    ("klow2", _SHARE, "Lower shadow of the bar over its range", "(Less($open, $close)-$low)/($high-$low+1e-12)"),
    ("ksft", _ANY, "Close above the middle of the bar, twice, over its open", "(2*$close-$high-$low)/$open"),
    ("ksft2", _SIGNED, "Close above the middle of the bar, twice, over its range",
     "(2*$close-$high-$low)/($high-$low+1e-12)"),
    ("open_0", _POSITIVE, "Open over close", "$open/$close"),
    ("high_0", (1.0, math.inf), "High over close", "$high/$close"),
    ("low_0", _SHARE, "Low over close", "$low/$close"),
)  # fmt: skip

_ROLLING = (
    # name   kernel    bars before the window, bounds, description, qlib's expression ({0} is the window)
    ("roc", regression, 1, _POSITIVE, "Close {0} bars ago over the close", "Ref($close, {0})/$close"),
    ("ma", regression, 0, _POSITIVE, "Mean of {0} closes over the close", "Mean($close, {0})/$close"),
    ("std", regression, 0, _POSITIVE, "Standard deviation of {0} closes over the close", "Std($close, {0})/$close"),
    ("beta", regression, 0, _ANY, "Slope of the line through {0} closes, over the close", "Slope($close, {0})/$close"),
    ("rsqr", regression, 0, _SHARE, "R squared of the line through {0} closes", "Rsquare($close, {0})"),
    ("resi", regression, 0, _ANY, "Close above the line through {0} closes, over the close",
     "Resi($close, {0})/$close"),
    ("max", extremes, 0, (1.0, math.inf), "Highest high of {0} bars over the close", "Max($high, {0})/$close"),
    ("min", extremes, 0, _SHARE, "Lowest low of {0} bars over the close", "Min($low, {0})/$close"),
    ("qtlu", order, 0, _POSITIVE, "Upper quantile (80%) of {0} closes over the close",
     "Quantile($close, {0}, 0.8)/$close"),
    ("qtld", order, 0, _POSITIVE, "Lower quantile (20%) of {0} closes over the close",
     "Quantile($close, {0}, 0.2)/$close"),
    ("rank", order, 0, _SHARE, "Rank of the close among {0}, as a share", "Rank($close, {0})"),
    ("rsv", extremes, 0, _SHARE, "Place of the close between the lowest low and the highest high of {0} bars",
     "($close-Min($low, {0}))/(Max($high, {0})-Min($low, {0})+1e-12)"),
    ("imax", extremes, 0, _SHARE, "How far into {0} bars the highest high stood, 1 is the current bar",
     "IdxMax($high, {0})/{0}"),
    ("imin", extremes, 0, _SHARE, "How far into {0} bars the lowest low stood, 1 is the current bar",
     "IdxMin($low, {0})/{0}"),
    ("imxd", extremes, 0, _SIGNED, "How much later than the lowest low the highest high of {0} bars stood, as a share",
     "(IdxMax($high, {0})-IdxMin($low, {0}))/{0}"),
    ("corr", price_volume, 0, _SIGNED, "Correlation of close and log volume, {0} bars",
     "Corr($close, Log($volume+1), {0})"),
    ("cord", change_change, 1, _SIGNED, "Correlation of the changes of close and of volume, {0} bars",
     "Corr($close/Ref($close,1), Log($volume/Ref($volume, 1)+1), {0})"),
    ("cntp", moves, 1, _SHARE, "Share of {0} closes that rose", "Mean($close>Ref($close, 1), {0})"),
    ("cntn", moves, 1, _SHARE, "Share of {0} closes that fell", "Mean($close<Ref($close, 1), {0})"),
    ("cntd", moves, 1, _SIGNED, "Share of {0} closes that rose, less those that fell",
     "Mean($close>Ref($close, 1), {0})-Mean($close<Ref($close, 1), {0})"),
    ("sump", moves, 1, _SHARE, "Rises over all changes of {0} closes",
     "Sum(Greater($close-Ref($close, 1), 0), {0})/(Sum(Abs($close-Ref($close, 1)), {0})+1e-12)"),
    ("sumn", moves, 1, _SHARE, "Falls over all changes of {0} closes",
     "Sum(Greater(Ref($close, 1)-$close, 0), {0})/(Sum(Abs($close-Ref($close, 1)), {0})+1e-12)"),
    ("sumd", moves, 1, _SIGNED, "Rises less falls over all changes of {0} closes",
     "(Sum(Greater($close-Ref($close, 1), 0), {0})-Sum(Greater(Ref($close, 1)-$close, 0), {0}))"
     "/(Sum(Abs($close-Ref($close, 1)), {0})+1e-12)"),
    ("vma", volumes, 0, _POSITIVE, "Mean of {0} volumes over the volume", "Mean($volume, {0})/($volume+1e-12)"),
    ("vstd", volumes, 0, _POSITIVE, "Standard deviation of {0} volumes over the volume",
     "Std($volume, {0})/($volume+1e-12)"),
    ("wvma", volumes, 1, _POSITIVE, "Deviation over mean of {0} absolute returns times volume",
     "Std(Abs($close/Ref($close, 1)-1)*$volume, {0})/(Mean(Abs($close/Ref($close, 1)-1)*$volume, {0})+1e-12)"),
    ("vsump", volumes, 1, _SHARE, "Rises over all changes of {0} volumes",
     "Sum(Greater($volume-Ref($volume, 1), 0), {0})/(Sum(Abs($volume-Ref($volume, 1)), {0})+1e-12)"),
    ("vsumn", volumes, 1, _SHARE, "Falls over all changes of {0} volumes",
     "Sum(Greater(Ref($volume, 1)-$volume, 0), {0})/(Sum(Abs($volume-Ref($volume, 1)), {0})+1e-12)"),
    ("vsumd", volumes, 1, _SIGNED, "Rises less falls over all changes of {0} volumes",
     "(Sum(Greater($volume-Ref($volume, 1), 0), {0})-Sum(Greater(Ref($volume, 1)-$volume, 0), {0}))"
     "/(Sum(Abs($volume-Ref($volume, 1)), {0})+1e-12)"),
)  # fmt: skip


def _source(name: str, expression: str) -> str:
    return f"qlib's Alpha158, {name.replace('_', '').upper()}: {expression}"


ALPHA158 = FeatureSet(
    "alpha158",
    (
        *(
            Feature(
                f"alpha158_{name}", "candle", description, candle,
                lookback=0, bounds=bounds, output=name, source=_source(name, expression),
            )
            for name, bounds, description, expression in _CANDLES
        ),
        Feature(
            "alpha158_vwap_0", "candle", "Volume-weighted average price over the close", average_price,
            lookback=0, bounds=_POSITIVE, source=_source("vwap_0", "$vwap/$close"),
        ),
        *(
            Feature(
                f"alpha158_{name}_{window}", "rolling", description.format(window), build, {"window": window},
                lookback=window - 1 + before, bounds=bounds, output=f"{name}_{window}",
                source=_source(f"{name}_{window}", expression.format(window)),
            )
            for name, build, before, bounds, description, expression in _ROLLING
            for window in WINDOWS
        ),
    ),
)  # fmt: skip
"""In qlib's order; alpha158_roc_5 is its ROC5."""
