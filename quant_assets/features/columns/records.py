"""Columns of what was known beyond prices when a bar ended; `alternative.attach_records` makes them."""

from __future__ import annotations

import math

from quant_assets.features.context import Extra

_SIGNED, _ANY = (-1.0, 1.0), (-math.inf, math.inf)

EXTRAS: dict[str, Extra] = {
    "alt_earnings": Extra("Earnings per share of the latest period known, over the price", _ANY),
    "alt_earnings_before": Extra("Earnings per share of the period before that one, over the price", _ANY),
    "alt_earnings_age": Extra("Days since the earnings per share in force became known"),
    "alt_book_value": Extra("Book value per share, over the price", _ANY),
    "alt_sales": Extra("Sales per share, over the price"),
    "alt_cash_flow": Extra("Cash flow per share, over the price", _ANY),
    "alt_dividends": Extra("Dividends per share, over the price"),
    "alt_turnover": Extra("Volume over shares outstanding"),
    "alt_esg": Extra("ESG score, 0 to 100", (0.0, 100.0)),
    "alt_esg_before": Extra("ESG score of the rating before", (0.0, 100.0)),
    "alt_esg_age": Extra("Days since the ESG score in force became known"),
    "alt_sentiment": Extra("A vendor's latest sentiment score", _SIGNED),
    "alt_news_1d": Extra("News that became known within a day"),
    "alt_news_7d": Extra("News that became known within 7 days"),
    "alt_news_90d": Extra("News that became known within 90 days"),
    "alt_news_mean_7d": Extra("Mean sentiment of the news of 7 days", _SIGNED),
    "alt_news_mean_90d": Extra("Mean sentiment of the news of 90 days", _SIGNED),
    "alt_mentions_1d": Extra("Social mentions that became known within a day"),
    "alt_mentions_30d": Extra("Social mentions that became known within 30 days"),
    "alt_insider_count_90d": Extra("Insider trades that became known within 90 days"),
    "alt_insider_net_90d": Extra("Net shares that insiders bought by these, over the volume of those days", _ANY),
    "alt_insider_bought_90d": Extra("Share of these trades that bought", (0.0, 1.0)),
}
"""Null where nothing was known, and while a feed was younger than a window of it."""
