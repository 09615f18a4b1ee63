"""One YAML file describes a whole installation: provider, universe, dates, grain, model, strategies, live trading.

`load` turns it into typed, immutable settings, or refuses it naming the field and an example.
Secrets are never part of it: they come from the environment (see configs/.env.example).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from resources.calendars import is_calendar
from resources.config_alternative import AlternativeSettings
from resources.config_backtest import BacktestSettings
from resources.config_limits import LimitSettings
from resources.config_providers import FilesSettings, ProviderSettings
from resources.config_streams import StreamSettings
from resources.config_warehouse import WarehouseSettings
from resources.errors import ConfigError, MissingSecretError

PROJECT = Path(__file__).resolve().parent.parent
DEFAULT_CONFIG = PROJECT / "configs" / "sample.yaml"
SYMBOL = re.compile(r"[A-Z0-9^][A-Z0-9.^=/-]{0,23}")


def check_symbols(symbols: Sequence[object]) -> list[str]:
    """The symbols, if each is one and stands there once. Raises ValueError naming the first that is not."""
    names: dict[str, None] = {}
    for symbol in symbols:
        if not isinstance(symbol, str):
            raise ValueError(f'{symbol!r} is not text: YAML reads ON, NO and numbers as values; put it in quotes, "ON"')
        if not SYMBOL.fullmatch(symbol):
            raise ValueError(
                f"{symbol!r} is not a symbol: capitals, digits and . - ^ = / only, 24 at most; for example BRK.B"
            )
        if symbol in names:
            raise ValueError(f"{symbol} stands there twice; keep one")
        names[symbol] = None
    return list(names)


class _Settings(BaseModel):
    # Pydantic's own words repeat what it was given, and a password that was put there by mistake.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


class UniverseSettings(_Settings):
    """Which symbols: a list, or a text file with one symbol a line (which the new-symbol sensor watches).

    With provider files, `symbols: all` takes every symbol that the files hold.
    """

    symbols: list[str] | Literal["all"] | None = Field(default=None, examples=[["AAPL", "MSFT"]])
    file: Path | None = Field(default=None, examples=["configs/universe.txt"])

    @field_validator("symbols", mode="before")
    @classmethod
    def _well_formed(cls, symbols: object) -> object:
        if symbols is None or symbols == "all":
            return symbols
        if not isinstance(symbols, list):
            raise ValueError(f"{symbols!r} is neither a list nor all")
        if not symbols:
            raise ValueError("at least one symbol")
        return check_symbols(symbols)

    @model_validator(mode="after")
    def _one_of(self) -> UniverseSettings:
        if (self.symbols is None) == (self.file is None):
            raise ValueError("give symbols or file, not both; for example symbols: [AAPL, MSFT]")
        return self


class DateSettings(_Settings):
    """The history held. Without an end it grows with every session."""

    start: date = Field(examples=["2000-01-03"])
    end: date | None = Field(default=None, examples=["2013-03-01"])

    @model_validator(mode="after")
    def _ordered(self) -> DateSettings:
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"end {self.end} must be later than start {self.start}")
        return self


class ExcludedRow(_Settings):
    """A row of the source to leave out: of one symbol, on one date or (date: null) without a date."""

    symbol: str = Field(examples=["BF.B"])
    session: date | None = Field(default=None, examples=["2014-06-09"])
    reason: str = Field(min_length=3, examples=["the source holds an empty row"])


Repair = Literal["invalid_value", "inconsistent", "unit_error", "half_built", "bad_print"]


class CleaningSettings(_Settings):
    exclude: list[ExcludedRow] = Field(default_factory=list, examples=[[{"symbol": "BF.B", "reason": "empty row"}]])
    stale_bars: int = Field(
        default=3, ge=2, description="this many bars alike in a row are flagged stale", examples=[3]
    )
    jump_sigmas: float = Field(
        default=12.0, gt=3, description="a return this many robust sigmas away is flagged", examples=[12]
    )
    repair: tuple[Repair, ...] = Field(
        default=("invalid_value", "inconsistent", "unit_error", "half_built"),
        description="rules whose finding also changes the row; the others flag it and leave it as given",
        examples=[["invalid_value", "inconsistent", "unit_error", "half_built", "bad_print"]],
    )


class ModelSettings(_Settings):
    """The LightGBM model on a walk-forward."""

    features: str = Field(
        default="core",
        pattern=r"^[a-z][a-z0-9_]*$",
        description="feature set that it is trained on: configs/features/<name>.yaml",
        examples=["core"],
    )
    start: date = Field(description="first training cut-off", examples=["2005-01-01"])
    retrain_months: Literal[1, 2, 3, 4, 6, 12] = Field(default=12, examples=[12])
    train_years: int = Field(default=5, ge=1, le=50, description="length of the training window", examples=[5])
    horizon: int = Field(default=5, ge=1, le=252, description="sessions that the label looks ahead", examples=[5])
    embargo: int = Field(default=5, ge=0, le=252, description="sessions left out after each fold", examples=[5])
    folds: int = Field(default=3, ge=2, le=20, examples=[3])
    trees: int = Field(default=80, ge=1, le=5000, examples=[80])
    learning_rate: float = Field(default=0.05, gt=0, le=1, examples=[0.05])
    leaves: int = Field(default=15, ge=2, le=1024, examples=[15])
    seed: int = Field(default=7, examples=[7])


Scalar = float | int | str | bool


class StrategySettings(_Settings):
    name: str = Field(min_length=1, examples=["moving_average_cross"])
    parameters: dict[str, Scalar] = Field(default_factory=dict, examples=[{"fast": 50, "slow": 200}])
    # Excluded from dumps, which code versions are made of: another grid changes no signal.
    grid: dict[str, list[Scalar]] | None = Field(
        default=None,
        exclude=True,
        description="values of parameters that backtests/sweep combines; the others keep theirs",
        examples=[{"fast": [20, 50], "slow": [100, 200]}],
    )

    @field_validator("grid")
    @classmethod
    def _combined(cls, grid: dict[str, list[Scalar]] | None) -> dict[str, list[Scalar]] | None:
        if grid is None:
            return grid
        for parameter, values in grid.items():
            if not values:
                raise ValueError(f"{parameter} has no values; give some, or leave it out")
            if len({(type(value), value) for value in values}) < len(values):
                raise ValueError(f"{parameter} has a value twice in {values}; keep one")
        runs = math.prod(map(len, grid.values()))
        if not 2 <= runs <= MOST_RUNS:
            raise ValueError(f"it makes {runs:,} runs; a sweep has from 2 to {MOST_RUNS:,}")
        return grid


MOST_RUNS = 20_000
"""Of a sweep that is configured: their returns of 20 years are 400 MB, of which the asset holds a few copies."""


class SweepSettings(_Settings):
    """How the sweeps of the strategies that have a grid are run."""

    executor: Literal["local", "ray"] = Field(
        default="local",
        description="the cores of this machine, or a Ray cluster: that of RAY_ADDRESS, else one on this machine",
        examples=["ray"],
    )
    workers: int | None = Field(default=None, ge=1, le=10_000, description="cores used, all by default", examples=[4])
    with_everything: bool = Field(
        default=False,
        description="launch.everything and make demo run the sweeps before the reports; else they run on demand",
        examples=[True],
    )


class LiveSettings(_Settings):
    """The live-trading job. `paper` is the only broker so far, so no real money can be at stake."""

    broker: Literal["paper"] = Field(default="paper", examples=["paper"])
    strategy: str = Field(min_length=1, description="whose signals are traded", examples=["model_score"])
    cash: float = Field(default=100_000.0, gt=0, examples=[100_000])
    replay_seconds: float = Field(
        default=10.0, gt=0, le=86_400, description="wall seconds that one replayed session takes", examples=[10]
    )
    heartbeat_seconds: float = Field(default=5.0, gt=0, le=60, examples=[5])
    observe_seconds: float = Field(default=60.0, gt=0, le=3600, examples=[60])
    limits: LimitSettings = Field(default_factory=LimitSettings)


class Settings(_Settings):
    """Everything one installation needs to know."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", examples=["sample"])
    provider: ProviderSettings = Field(examples=["{name: sample}"])
    universe: UniverseSettings = Field(examples=["{symbols: [AAPL, MSFT]}"])
    dates: DateSettings = Field(examples=["{start: 2000-01-03}"])
    calendar: str = Field(default="XNYS", examples=["XNYS"])
    timeframe: Literal["1m", "5m", "15m", "30m", "1h", "4h", "1d"] = Field(
        default="1d",
        description="of the bars that are fetched and cleaned; research tables have one row a session",
        examples=["1d"],
    )
    grain: Literal["year", "month", "day"] = Field(default="year", examples=["year"])
    benchmark: str | None = Field(
        default=None, description="symbol compared against; the equal-weighted universe by default", examples=["SPY"]
    )
    cleaning: CleaningSettings = Field(default_factory=CleaningSettings)
    features: tuple[str, ...] = Field(
        default=("core",),
        description="feature sets (configs/features) that the panel holds beside the model's, for strategies",
        examples=[["core"]],
    )
    store: Literal["asked", "all"] = Field(
        default="asked",
        description="what the assets of feature groups hold: of a group that the sets ask for only what they ask for, "
        "or all of it (a column of 500 symbols and 20 years is 20 MB)",
        examples=["asked"],
    )
    alternative: AlternativeSettings = Field(default_factory=AlternativeSettings)
    model: ModelSettings = Field(examples=["{start: 2005-01-01}"])
    strategies: list[StrategySettings] = Field(min_length=1, examples=["[{name: model_score}]"])
    backtest: BacktestSettings = Field(default_factory=BacktestSettings)
    sweep: SweepSettings = Field(default_factory=SweepSettings)
    warehouse: WarehouseSettings = Field(default_factory=WarehouseSettings)
    live: LiveSettings = Field(examples=["{strategy: model_score}"])
    streams: StreamSettings | None = Field(
        default=None, description="what the stream job follows and keeps; without it there is none"
    )

    @field_validator("calendar")
    @classmethod
    def _known(cls, calendar: str) -> str:
        if not is_calendar(calendar):
            raise ValueError(f"{calendar!r} is not an exchange calendar like XNYS (New York), XLON (London) or 24/7")
        return calendar

    @field_validator("benchmark")
    @classmethod
    def _one_symbol(cls, benchmark: str | None) -> str | None:
        return benchmark if benchmark is None else check_symbols([benchmark])[0]

    @field_validator("strategies")
    @classmethod
    def _named_once(cls, strategies: list[StrategySettings]) -> list[StrategySettings]:
        names = [strategy.name for strategy in strategies]
        if len(set(names)) != len(names):
            raise ValueError(f"each strategy once; got {names}")
        return strategies

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        if self.live.strategy not in [strategy.name for strategy in self.strategies]:
            raise ValueError(f"live.strategy {self.live.strategy!r} is not one of the strategies listed")
        if self.provider.name == "sample" and self.timeframe != "1d":
            raise ValueError(f"timeframe {self.timeframe!r}: the sample has daily bars only; for example timeframe: 1d")
        if self.provider.name == "yahoo" and self.timeframe != "1d" and self.grain != "day":
            raise ValueError(
                f"grain {self.grain!r}: a partition is fetched whole, and Yahoo soon has only a part of one left; "
                "for example grain: day"
            )
        self.alternative.check_beside(self.provider.name)
        if self.provider.name == "binance" and self.calendar != "24/7":
            raise ValueError(f"calendar {self.calendar!r}: Binance never closes; for example calendar: 24/7")
        if self.universe.symbols == "all" and self.provider.name != "files":
            raise ValueError(
                "universe.symbols: all works with provider files only; list the symbols, for example [AAPL, MSFT]"
            )
        if self.streams is not None:
            self.streams.check(self.provider.name)
        if self.model.start <= self.dates.start:
            raise ValueError(f"model.start {self.model.start} must be later than dates.start {self.dates.start}")
        if self.backtest.start is not None and self.backtest.start < self.dates.start:
            raise ValueError(
                f"backtest.start {self.backtest.start} must not be earlier than dates.start {self.dates.start}"
            )
        if self.dates.end is not None:
            for field, start in (("model.start", self.model.start), ("backtest.start", self.backtest.start)):
                if start is not None and start >= self.dates.end:
                    raise ValueError(f"{field} {start} must be earlier than dates.end {self.dates.end}")
        return self

    @property
    def home(self) -> Path:
        """Folder of this installation's lake, event log, models and journal (QUANT_HOME overrides)."""
        root = os.environ.get("QUANT_HOME")
        return Path(root) if root else PROJECT / ".quant" / self.name

    @property
    def lake_url(self) -> str:
        """Where the lake is: a folder, or any fsspec URL given by QUANT_LAKE."""
        return os.environ.get("QUANT_LAKE") or str(self.home / "lake")


class _NoKeyTwice(yaml.SafeLoader):
    """Reads YAML, and refuses a key that stands twice in a mapping, where YAML itself lets the last one win."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode):
                if key.value in lines:
                    raise ValueError(
                        f"line {line}: {key.value} stands there twice, first in line {lines[key.value]}; keep one"
                    )
                lines[key.value] = line
        return node


def load(path: Path | str | None = None) -> Settings:
    """Read a configuration file; QUANT_CONFIG, then configs/sample.yaml, where no path is given.

    Relative paths inside it are taken from the project's folder, and `"${NAME}"` from the environment.

    Raises ConfigError naming the file, the field, what is wrong and an example; MissingSecretError naming the field
    and the environment variable that it asks for.
    """
    source = Path(path or os.environ.get("QUANT_CONFIG") or DEFAULT_CONFIG).resolve()
    try:
        raw = yaml.load(source.read_text(encoding="utf-8"), _NoKeyTwice)
    except OSError as error:
        raise ConfigError(
            f"{source}: cannot be read ({error.strerror}). Set QUANT_CONFIG to a file such as configs/sample.yaml."
        ) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2000-13-01, or text that is not UTF-8
        raise ConfigError(f"{source}: not readable as YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{source}: expected fields such as name, provider and universe; see configs/sample.yaml")
    try:
        settings = Settings.model_validate(_from_environment(raw, source.name, ""))
    except ValidationError as error:
        raise ConfigError(_explain(source, error)) from error
    return settings.model_copy(
        update={
            "provider": _absolute(settings.provider, "path", "sectors", "instruments", "actions", "quotes", "trades")
            if isinstance(settings.provider, FilesSettings)
            else settings.provider,
            "universe": _absolute(settings.universe, "file"),
            "warehouse": _absolute(settings.warehouse, "ca_file"),
            "alternative": _absolute(settings.alternative, "entities"),
        }
    )


def _from_environment(value: Any, file: str, field: str) -> Any:
    """The value with every `${NAME}` in its texts replaced."""
    if isinstance(value, dict):
        return {key: _from_environment(inner, file, f"{field}.{key}".lstrip(".")) for key, inner in value.items()}
    if isinstance(value, list):
        return [_from_environment(inner, file, f"{field}.{place}") for place, inner in enumerate(value)]
    if not isinstance(value, str):
        return value

    def look_up(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise MissingSecretError(
                f"{file}: {field} needs {found[1]}, which is not in the environment; export {found[1]}=... first "
                "(configs/.env.example lists what there is)"
            )
        return os.environ[found[1]]

    return re.sub(r"\$\{(\w+)\}", look_up, value)


def _absolute(part: Any, *names: str) -> Any:
    paths = {name: PROJECT / value for name in names if (value := getattr(part, name)) is not None}
    return part.model_copy(update=paths)


def _explain(source: Path, error: ValidationError) -> str:
    lines = []
    for fault in error.errors():
        model, example, path = _look_up(fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] in ("union_tag_invalid", "union_tag_not_found"):
            path = [*path, "name"]
            message = f"Input should be {_providers()}; for example name: sample"
        elif fault["type"] == "extra_forbidden":
            message = f"no such field here; there are {', '.join(model.model_fields)}"
        elif example is not None and "for example" not in message:
            message += f"; for example {path[-1]}: {example}"
        lines.append(": ".join(filter(None, (".".join(path), message))))
    return f"{source.name}: " + " | ".join(lines)


def _look_up(location: tuple[int | str, ...]) -> tuple[type[BaseModel], Any, list[str]]:
    """The innermost model around the field at `location`, the field's example, and its path as the file has it."""
    inside: type[BaseModel] = Settings
    example, path = None, []
    several: list[type[BaseModel]] = []
    for part in location:
        if isinstance(part, int):  # a place in a list
            path.append(str(part))
            continue
        # Inside a choice of models pydantic names the one that was chosen: that is no field of the file.
        chosen = [model for model in several if _tag(model) == part]
        several = []
        if chosen:
            inside = chosen[0]
            continue
        if not str(part).startswith(("list[", "literal[")):
            path.append(str(part))
        field = inside.model_fields.get(str(part))
        if field is None:
            continue
        example = field.examples[0] if field.examples else None
        several = _models(field.annotation)
        inside = next(iter(several), inside)
    return inside, example, path


def _providers() -> str:
    return ", ".join(repr(_tag(model)) for model in _models(Settings.model_fields["provider"].annotation))


def _tag(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("name")
    return next(iter(get_args(field.annotation)), None) if field else None


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [found for inner in get_args(annotation) for found in _models(inner)]
