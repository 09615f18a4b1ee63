"""What each rule of cleaning means, in a sentence for people who have not read the code."""

from __future__ import annotations

MEANINGS: dict[str, str] = {
    "excluded": "The configuration names this row (cleaning.exclude), so it was left out.",
    "duplicate": "The source gave more than one row for this symbol and session; one was kept.",
    "clock_error": "The stamp is not the session's open, or not one that can be: the bar was moved to its session, "
    "given the session's close as the time it was known, or left out.",
    "out_of_session": "The row lies at a time when the calendar does not trade; a bar there was left out.",
    "half_built": "The bar was fetched before its session ended, so it would be another one tomorrow.",
    "invalid_value": "A price that is not a positive number, or a volume that is missing or negative.",
    "inconsistent": "The bar's high or low does not bound its other prices.",
    "unit_error": "All four prices are 100 times too high or too low, such as pence for pounds.",
    "bad_print": "A high, low or open that nothing around it confirms: not its own bar, its neighbours or the market.",
    "bad_close": "The next bar shows that the close before it was a false print; the row before stays as it was.",
    "missing_session": "The calendar traded and the source has no bar: the row holds the last close and no volume.",
    "missing_bar": "Nobody traded in this slot of an open session: the row holds the last close and no volume.",
    "zero_volume": "A bar without a single trade: a halt, a quiet listing, or a feed without volume.",
    "stale": "Prices repeat those of the bars before, as a feed does that has stopped.",
    "jump": "A return far outside the volatility of the bars before. Most are news; a false close looks the same.",
    "unapplied_split": "Prices moved by a usual split ratio in a calm session, and no split was told.",
    "crossed": "A quote whose bid is above its ask: two feeds or two moments mixed into one.",
    "split_unconfirmed": "A split was told, and the session opened as if there were none; it was not applied.",
    "dividend_unconfirmed": "A large dividend was told, and the session opened as if there were none; it was not "
    "applied.",
    "dividend_exceeds_price": "A dividend of at least the whole previous close; it was not applied.",
    "dividend_overdue": "A regular payer's next dividend is not there: it was cut, or the source lost it.",
    "action_invalid": "A split or dividend whose value is no number or cannot be; it was not applied.",
    "action_duplicated": "The same split or dividend twice; it was counted once.",
    "action_known_late": "A split or dividend that became known after its session's close; it was applied.",
    "action_moved": "The date of a split or dividend has no bar; it was applied at the symbol's next one.",
    "action_before_history": "A split or dividend on the first bar; there is no earlier close to adjust.",
    "action_without_bar": "A split or dividend after the last bar; it waits for the next one.",
}
"""One plain sentence for every rule of quant_assets.cleaned.rules.SEVERITY."""

TOLD_ONLY = ("crossed", "dividend_overdue")
"""Rules that change nothing, although old and new differ: new is there to compare with."""


def meaning(rule: str) -> str:
    """The sentence, or nothing for a rule of an older version that is still in the lake."""
    return MEANINGS.get(rule, "")
