"""Windows that are read group by group are those that are held all at once."""

from typing import Any

import numpy as np
import pytest
from sklearn.preprocessing import RobustScaler

from jobs import dataset, features, ingest, labels, market
from jobs.stage import Context
from quant.features import columns
from quant.schemas import FEATURES
from quant.training import drawn
from quant.windows import cut
from storage.tables import read_table
from tests.jobs.conftest import make_context, serially, write_market

STEPS = 6
TICKERS = tuple(f"{letter * 3}USDT" for letter in "ABCDEF")
NAMES = [f"local-um:{name}" for name in TICKERS]
# MB of which each of two parts has half, and each of two groups of a part a quarter: there is room for two tickers
# of the fit part's 20 kB in a group
ALL, SOME = 100.0, 0.19


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Context:
    folder = tmp_path_factory.mktemp("dataset")
    source = write_market(folder / "market", TICKERS, rows=2_000)
    context = make_context(folder / "store", source=str(source), train={"steps": STEPS})
    for stage in (ingest, features, labels):
        stage.run(context, fan_out=serially)
    return context


def loaded(context: Context, **train: Any) -> dataset.TrainingData:
    config = context.config
    changed = config.model_copy(update={"train": config.train.model_copy(update=train)})
    return dataset.load(Context(changed, context.store, context.workers), NAMES)


def with_memory(context: Context, megabytes: float) -> dataset.TrainingData:
    return loaded(context, memory=megabytes / 1e3)


def laid_out(part: dataset.Stream, generator: np.random.Generator | None = None) -> list[tuple[Any, Any]]:
    return [(cut(group.rows, group.ends, STEPS), group.labels) for group in part.groups(generator)]


def test_groups_hold_every_window_once_and_in_order(prepared: Context) -> None:
    whole, streamed = with_memory(prepared, ALL), with_memory(prepared, SOME / 3)
    for name in ("fit", "validate"):
        ((windows, classes),) = laid_out(whole.parts[name])
        groups = laid_out(streamed.parts[name])
        assert len(groups) > 1
        assert np.array_equal(np.concatenate([each for each, _ in groups]), windows)
        assert np.array_equal(np.concatenate([each for _, each in groups]), classes)
        assert np.array_equal(streamed.parts[name].labels, classes)
    assert streamed.scaler == whole.scaler


def test_groups_are_drawn_anew_for_each_pass(prepared: Context) -> None:
    part = with_memory(prepared, SOME).fit
    passes = [laid_out(part, np.random.default_rng(seed)) for seed in (0, 0, 1, 2)]
    first, again, *others = [[classes.tolist() for _, classes in groups] for groups in passes]
    assert first == again
    assert any(first != other for other in others)
    total = np.sort(np.concatenate([windows.ravel() for windows, _ in passes[0]]))
    for groups in passes[1:]:
        assert np.array_equal(np.sort(np.concatenate([windows.ravel() for windows, _ in groups])), total)


def test_no_more_rows_are_held_than_the_memory_allows(prepared: Context) -> None:
    def peak(megabytes: float) -> float:
        part = with_memory(prepared, megabytes).fit
        read = part.read
        held: list[int] = []

        def watched(member: dataset.TickerWindows) -> Any:
            held.append(member.height * part.features * 4)
            return read(member)

        watching = dataset.Stream(watched, part.members, part.features, part.memory)
        groups = [group.rows.nbytes for group in watching.groups()]
        assert sum(held) == sum(groups)
        # the one that is used and the one that is read ahead
        return max(one + two for one, two in zip(groups, [*groups[1:], 0], strict=True)) / 1e6

    assert 0.6 * SOME / 2 < peak(SOME) <= SOME / 2
    assert peak(ALL) > SOME / 2


def test_the_scaler_is_that_of_all_complete_rows_of_the_fit_part(prepared: Context) -> None:
    part = market.parts(prepared, market.of(prepared))["fit"]
    names = columns(prepared.config.features.set)
    tables = [read_table(prepared.store, prepared.run, FEATURES, ticker, names) for ticker in NAMES]
    rows = np.concatenate([table[part.rows(table.index)].dropna().to_numpy() for table in tables])
    expected = RobustScaler().fit(rows.astype(np.float64))
    for memory in (ALL, SOME / 10):  # all features at a time, and one
        scaler = with_memory(prepared, memory).scaler
        np.testing.assert_allclose(scaler.center, expected.center_, rtol=1e-12)
        np.testing.assert_allclose(scaler.scale, expected.scale_, rtol=1e-12)


def test_windows_drawn_from_groups_are_those_drawn_from_all(prepared: Context) -> None:
    whole, streamed = (drawn(with_memory(prepared, memory).fit, STEPS, 500, 3) for memory in (ALL, SOME))
    assert len(whole.ends) == 500
    assert np.array_equal(cut(whole.rows, whole.ends, STEPS), cut(streamed.rows, streamed.ends, STEPS))
    assert np.array_equal(whole.labels, streamed.labels)
    assert len(streamed.rows) == 500 * STEPS


def test_a_scaler_of_all_rows_is_another(prepared: Context) -> None:
    fit, every = (loaded(prepared, scaler="minmax", scaler_rows=rows).scaler for rows in ("fit", "all"))
    assert fit.kind == "minmax"
    assert all(one <= two for one, two in zip(fit.scale, every.scale, strict=True))
    assert fit.scale != every.scale


def test_shuffled_features_are_the_same_ones_elsewhere(prepared: Context) -> None:
    plain, shuffled = loaded(prepared), loaded(prepared, shuffle_features=4)
    order = [plain.scaler.columns.index(name) for name in shuffled.scaler.columns]
    assert sorted(order) == list(range(len(order)))
    assert order != sorted(order)
    ((windows, classes),) = laid_out(plain.fit)
    ((moved, same),) = laid_out(shuffled.fit)
    assert np.array_equal(windows[:, :, order], moved)
    assert np.array_equal(classes, same)


def test_a_part_without_windows_is_named(prepared: Context) -> None:
    with pytest.raises(dataset.NoWindowsError, match=r"The fit part .* holds no labelled window of 3000 bars"):
        loaded(prepared, steps=3_000)
