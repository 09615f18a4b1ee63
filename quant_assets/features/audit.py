"""Look-ahead and warm-up analysis of features and strategies of one's own.

    python -m quant_assets.features.audit my_package.my_module:MY_FEATURE

NAME is a Feature, a FeatureSet, a list of features, or a Strategy (a class or an instance). Each is put through the
same proofs as the catalogue, on made-up bars that hold all that is awkward in real ones, or on cleaned bars of your own
(`--bars FILE.parquet`). Ends with 0 where everything stands, 1 where something is refuted, 2 where it cannot be tried.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from quant_assets.features.definition import Feature, FeatureSet
from quant_assets.features.proofs import PROOFS, Refutation, prove
from quant_assets.features.strategy_proofs import Strategy, prove_strategy
from resources.errors import ConfigError, QuantError


def audit(target: Any, bars: pl.DataFrame | None = None) -> list[Refutation]:
    """What is refuted of a Feature, a FeatureSet, several features, or a Strategy. Empty where all of it stands.

    Raises ConfigError where it is none of these, and ValueError where the bars are too few for its look-back.

    Example: `audit(Feature("mine", "test", "Mine", my_builder, lookback=20))`
    """
    if isinstance(target, type) and hasattr(target, "intents"):
        target = target()
    if isinstance(target, Strategy):
        return prove_strategy(target, bars)
    return prove(_features(target), bars)


def _features(target: Any) -> FeatureSet:
    if isinstance(target, FeatureSet):
        return target
    several = [target] if isinstance(target, Feature) else list(target) if isinstance(target, Iterable) else []
    if not several or not all(isinstance(each, Feature) for each in several):
        raise ConfigError(
            f"{target!r} is no feature and no strategy; give a Feature, a FeatureSet, a list of features, or a Strategy"
        )
    return FeatureSet("audited", tuple(several))


def load(name: str) -> Any:
    """The object that MODULE:NAME names. Raises ConfigError where there is none."""
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute:
        raise ConfigError(f"{name!r}: give MODULE:NAME, for example my_package.my_features:MY_FEATURE")
    sys.path.insert(0, str(Path.cwd()))
    try:
        held = importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"{module} cannot be imported: {error}") from error
    if not hasattr(held, attribute):
        raise ConfigError(
            f"{module} has no {attribute}; it has {', '.join(each for each in vars(held) if each[0] != '_')}"
        )
    return getattr(held, attribute)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m quant_assets.features.audit", description=__doc__.split("\n")[0])
    parser.add_argument("target", metavar="MODULE:NAME", help="a Feature, FeatureSet, list of features, or Strategy")
    parser.add_argument("--bars", type=Path, help="Parquet of cleaned bars of several symbols, instead of made-up ones")
    asked = parser.parse_args(arguments)
    try:
        target = load(asked.target)
        bars = pl.read_parquet(asked.bars) if asked.bars else None
        found = audit(target, bars)
    except (QuantError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except Exception as error:  # whatever the code that is tried may raise
        print(f"{asked.target} cannot be tried: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    for refutation in found:
        print(f"REFUTED  {refutation}")
    strategy = isinstance(target, Strategy | type)
    names = "no_look_ahead, honest_history" if strategy else ", ".join(proof.__name__ for proof in PROOFS)
    print(f"{asked.target}: {f'{len(found)} refuted' if found else 'stands'} ({names})")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
