"""Feature sets: named lists of features, one readable YAML file each in configs/features, with a version.

    name: trend_only
    description: Trend alone, to see what the rest adds.
    features: [rsi_14, technical/macd_*, statistical/volatility_*]

An entry is the name of a feature, or a pattern with * and ?: `group/pattern`, or a pattern over all groups. A set is
what a model is trained on, and what the panel holds.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quant_assets.features.definition import FeatureSet
from quant_assets.features.groups import ALL, GROUPS
from quant_assets.features.stored import ACROSS, HOLDER, STORED, kinds_read, missing_columns
from quant_assets.versions import code_version
from resources.config import PROJECT, Settings
from resources.errors import ConfigError

FOLDER = PROJECT / "configs" / "features"


class _File(BaseModel):
    """A feature set as its file has it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", examples=["core"])
    description: str = Field(min_length=10, examples=["Trend alone, to see what the rest adds."])
    features: list[str] = Field(min_length=1, examples=["[rsi_14, technical/macd_*]"])


@dataclass(frozen=True)
class NamedSet:
    """Features that belong together by name, in the order of their file."""

    name: str
    description: str
    features: FeatureSet

    @property
    def names(self) -> tuple[str, ...]:
        return self.features.names

    @property
    def version(self) -> str:
        """Changes when a feature is added, removed, moved or defined differently; not with the name or prose."""
        return code_version(*((feature.name, feature.code_version) for feature in self.features))

    def by_asset(self) -> dict[str, list[str]]:
        """The features that each asset has to bring, by the asset's name."""
        wanted = set(self.names)
        held = {asset: [name for name in features.names if name in wanted] for asset, features in STORED.items()}
        return {asset: names for asset, names in held.items() if names}


def load_set(of: str | Path) -> NamedSet:
    """Read a feature set: configs/features/<name>.yaml, or any file.

    Raises ConfigError naming the file, the entry, what is wrong with it and the names most like it.

    Example: `load_set("core").names[:3]`
    """
    path = FOLDER / f"{of}.yaml" if isinstance(of, str) else of
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        there = ", ".join(sorted(file.stem for file in FOLDER.glob("*.yaml")))
        raise ConfigError(f"{path.name}: cannot be read ({error.strerror}); configs/features has {there}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name}: not readable as YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path.name}: expected name, description and features; for example name: core")
    try:
        file = _File.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path.name}: " + " | ".join(_explain(fault) for fault in error.errors())) from error
    if file.name != path.stem:
        raise ConfigError(f"{path.name}: name is {file.name}; a set is called by its file, so name it {path.stem}")
    try:
        return NamedSet(file.name, file.description, FeatureSet(file.name, ALL.pick(_resolved(file.features)).features))
    except ConfigError as error:
        raise ConfigError(f"{path.name}: {error}") from None


def _resolved(entries: Sequence[str]) -> list[str]:
    """The names that the entries stand for, each at its first place."""
    names: dict[str, None] = {}
    written: set[str] = set()
    for entry in entries:
        if entry in written:
            raise ConfigError(f"features: {entry} stands there twice; keep one")
        written.add(entry)
        names |= dict.fromkeys(_matching(entry))
    return list(names)


def _matching(entry: str) -> list[str]:
    group, slash, pattern = entry.rpartition("/")
    if slash and group not in GROUPS:
        near = difflib.get_close_matches(group, GROUPS, n=1) or sorted(GROUPS)
        raise ConfigError(f"features: {entry!r} names the group {group!r}; did you mean {' or '.join(near)}?")
    among = GROUPS[group] if slash else ALL
    if not any(sign in pattern for sign in "*?["):
        feature = among.pick([pattern]).features[0]
        if "@" in feature.name:
            raise ConfigError(f"features: {feature.name}: no asset holds coarser bars; compute() does. Leave it out")
        if feature.name not in HOLDER:
            lacking = ", ".join(missing_columns(feature))
            raise ConfigError(f"features: nothing brings {lacking} yet, which {feature.name} reads; leave it out")
        return [feature.name]
    # A pattern means what there is: what has no source yet joins the set, and changes its version, when it has one.
    found = [feature.name for feature in among if fnmatchcase(feature.name, pattern) and feature.name in HOLDER]
    if not found:
        raise ConfigError(f"features: no feature that is stored matches {entry!r}; catalog() lists their names")
    return found


def _explain(fault: Mapping[str, object]) -> str:
    location = fault["loc"]
    assert isinstance(location, tuple)
    field = _File.model_fields.get(str(location[0])) if location else None
    example = f"; for example {location[0]}: {field.examples[0]}" if field is not None and field.examples else ""
    if fault["type"] == "extra_forbidden":
        return f"{location[0]}: no such field here; there are {', '.join(_File.model_fields)}"
    return f"{'.'.join(map(str, location))}: {fault['msg']}{example}"


@dataclass(frozen=True)
class Configured:
    """What an installation's settings ask for."""

    model: NamedSet
    """What the model is trained on."""
    panel: NamedSet
    """What the panel holds: the model's features, then those of the other sets named."""
    stored: Mapping[str, FeatureSet]
    """The features of each feature asset, by its name."""

    @property
    def assets(self) -> list[str]:
        """The feature assets that cut their partitions by date and symbol and that the panel needs."""
        return [asset for asset in self.panel.by_asset() if asset != ACROSS]

    @property
    def across(self) -> bool:
        """Whether the panel needs features/cross_section."""
        return ACROSS in self.panel.by_asset()


def configured(settings: Settings) -> Configured:
    """The sets that the settings name (model.features, features), and what is stored (store).

    Features of alternative records are stored where a source brings their kind. Raises ConfigError as `load_set` does,
    and where a set asks for a feature whose records no source brings.
    """
    model = load_set(settings.model.features)
    sets = [model, *(load_set(name) for name in settings.features if name != model.name)]
    names = dict.fromkeys(name for each in sets for name in each.names)
    title = " + ".join(each.name for each in sets)
    panel = NamedSet("panel", f"The sets {title}.", FeatureSet("panel", ALL.pick(names).features))
    kinds = set(settings.alternative.kinds)
    for each in sets:
        for feature in each.features:
            if lacking := sorted(kinds_read(feature) - kinds):
                raise ConfigError(
                    f"features: {feature.name} of the set {each.name} reads {lacking[0]}, which no source brings; name "
                    "one under alternative.sources (docs/alternative.md), or leave the set out"
                )
    asked = panel.by_asset() if settings.store == "asked" else {}
    there = {name: [feature.name for feature in held if kinds_read(feature) <= kinds] for name, held in STORED.items()}
    stored = {name: STORED[name].pick(asked.get(name, names)) for name, names in there.items() if names}
    return Configured(model, panel, stored)
