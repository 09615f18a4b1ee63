"""The table of every measure in docs/metrics.md, out of their docstrings.

python -m quant_assets.backtests.metrics.reference
"""

from __future__ import annotations

import inspect

from quant_assets.backtests.metrics import METRICS, RELATIVE, SHORT


def table() -> str:
    """Markdown: a line a measure with its name, its other names in `summary`, its options, what it is, its source."""
    lines = ["| measure | also as | options | what it is | source |", "|---|---|---|---|---|"]
    for name, measure in (METRICS | RELATIVE).items():
        short = ", ".join(f"`{key}`" for key, of in SHORT.items() if of == name)
        options = ", ".join(f"`{option}`" for option in list(inspect.signature(measure).parameters)[1:])
        paragraphs = [" ".join(each.split()) for each in (inspect.getdoc(measure) or "").split("\n\n")]
        text, _, source = " ".join(each for each in paragraphs if not each.startswith("Example")).partition("Source: ")
        cells = [f"`{name}`", short, options, text.strip(), source.rstrip(".")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
