"""A new symbol in the universe: its partition is added and its history filled, in one run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.definitions import defs
from quant_assets.partitions import SETTINGS, SYMBOLS
from resources.errors import ConfigError
from resources.lake import Lake
from resources.lake_io import LakeIOManager
from resources.market_data import Sample
from sensors import universe as module
from sensors.universe import universe_sensor

START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The universe's file, which the settings name."""
    path = tmp_path / "universe.txt"
    path.write_text("AAPL\nIBM  # a comment\n")
    watched = SETTINGS.universe.model_copy(update={"file": path, "symbols": None})
    monkeypatch.setattr(module, "SETTINGS", SETTINGS.model_copy(update={"universe": watched}))
    return path


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def evaluate(instance: dg.DagsterInstance) -> dg.SensorResult | dg.SkipReason:
    """One tick; the partitions it asks for are added, as the daemon adds them before it starts the runs."""
    with dg.build_sensor_context(instance=instance, repository_def=defs.get_repository_def()) as context:
        answer = universe_sensor(context)
    assert isinstance(answer, dg.SensorResult | dg.SkipReason)
    for request in (answer.dynamic_partitions_requests or []) if isinstance(answer, dg.SensorResult) else []:
        assert request.partitions_def_name == SYMBOLS
        instance.add_dynamic_partitions(SYMBOLS, request.partition_keys)
    return answer


def test_a_new_installation_takes_in_its_whole_universe(instance: dg.DagsterInstance, file: Path) -> None:
    answer = evaluate(instance)
    assert isinstance(answer, dg.SensorResult)
    instruments, history, alternative = answer.run_requests or []
    assert (instruments.job_name, history.job_name) == ("instruments", "history")
    assert (alternative.job_name, alternative.tags) == ("alternative", history.tags)
    assert history.tags == {START: "2010|AAPL", END: "2012|IBM"}
    assert list(instance.get_dynamic_partitions(SYMBOLS)) == ["AAPL", "IBM"]


def test_nothing_new_says_so(instance: dg.DagsterInstance, file: Path) -> None:
    evaluate(instance)
    answer = evaluate(instance)
    assert isinstance(answer, dg.SkipReason)
    assert answer.skip_message == "2 symbols, none new"


def test_a_symbol_that_left_keeps_its_partition(instance: dg.DagsterInstance, file: Path) -> None:
    evaluate(instance)
    file.write_text("IBM\n")
    assert isinstance(evaluate(instance), dg.SkipReason)
    assert list(instance.get_dynamic_partitions(SYMBOLS)) == ["AAPL", "IBM"]


def test_a_new_symbol_is_added_and_its_history_filled_in_one_run(
    instance: dg.DagsterInstance, file: Path, tmp_path: Path
) -> None:
    evaluate(instance)
    file.write_text("MSFT\nAAPL\nIBM\n")
    answer = evaluate(instance)
    assert isinstance(answer, dg.SensorResult)
    [history] = [request for request in answer.run_requests or [] if request.job_name == "history"]
    assert history.tags == {START: "2010|MSFT", END: "2012|MSFT"}
    assert list(instance.get_dynamic_partitions(SYMBOLS)) == ["AAPL", "IBM", "MSFT"], "added last"

    lake = Lake(str(tmp_path / "lake"))
    job = defs.resolve_job_def("history")
    result = job.execute_in_process(
        instance=instance,
        tags=history.tags,
        resources={
            "provider": dg.ResourceDefinition.hardcoded_resource(Sample()),
            "io_manager": LakeIOManager(lake, "XNYS"),
            "lake": dg.ResourceDefinition.hardcoded_resource(lake),
        },
    )
    assert result.success
    filled = {f"{year}|MSFT" for year in ("2010", "2011", "2012")}
    for asset in ("market_data/bars", "market_data/corporate_actions", "cleaned/bars", "features/technical"):
        key = dg.AssetKey.from_user_string(asset)
        assert instance.get_materialized_partitions(key) == filled, asset
        assert {part["symbol"] for part in lake.partitions(key.path)} == {"MSFT"}
    assert lake.read(["cleaned", "bars"], {"symbol": "MSFT", "date": "2011"}).height == 252
    assert isinstance(evaluate(instance), dg.SkipReason), "and only once"


def test_several_new_symbols_are_one_range(instance: dg.DagsterInstance, file: Path) -> None:
    evaluate(instance)
    file.write_text("AAPL\nGOOG\nIBM\nMSFT\n")
    answer = evaluate(instance)
    assert isinstance(answer, dg.SensorResult)
    keys = [request.run_key for request in answer.run_requests or []]
    assert keys == ["instruments GOOG..MSFT (2)", "history GOOG..MSFT (2)", "alternative GOOG..MSFT (2)"]
    order = list(instance.get_dynamic_partitions(SYMBOLS))
    [history] = [request for request in answer.run_requests or [] if request.job_name == "history"]
    first, last = (history.tags[end].split("|")[1] for end in (START, END))
    assert order[order.index(first) : order.index(last) + 1] == ["GOOG", "MSFT"], "and cover no other symbol"


BROKEN = [
    ("a symbol in small letters", "AAPL\naapl\n", "'aapl' is not a symbol"),
    ("a symbol twice", "AAPL\nAAPL\n", "AAPL stands there twice"),
    ("no symbol", "# nothing yet\n", "has no symbol"),
]


@pytest.mark.parametrize(("text", "message"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_a_broken_file_is_an_error_and_adds_nothing(
    instance: dg.DagsterInstance, file: Path, text: str, message: str
) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=rf"universe\.file: .*universe\.txt.*{message}"):
        evaluate(instance)
    assert list(instance.get_dynamic_partitions(SYMBOLS)) == []


def test_a_universe_too_large_for_the_grain_is_refused(
    instance: dg.DagsterInstance, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SETTINGS", module.SETTINGS.model_copy(update={"grain": "day"}))
    file.write_text("\n".join(f"S{number}" for number in range(200)))
    with pytest.raises(ConfigError, match=r"grain: day makes .* partitions of 200 symbols.*grain: month fits"):
        evaluate(instance)
