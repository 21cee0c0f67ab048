import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from moto.server import ThreadedMotoServer

from actors.train import Context, TrainingError, run_training
from tests.training.small_network import Arrays, options, same, stumble, train_network

pytestmark = [
    pytest.mark.ray,
    # Ray Train copies the context of Ray Data, which warns of deprecated fields of its own
    pytest.mark.filterwarnings("ignore:`use_:DeprecationWarning:ray.data.context"),
]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Ray, and an S3 server whose place the ranks inherit."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        ray.init(address="local", num_cpus=3, include_dashboard=False, configure_logging=False, log_to_driver=False)
        yield
        ray.shutdown()
    server.stop()


def test_checkpoints_go_to_s3_and_a_run_asked_for_again_goes_on_from_them(cluster: None) -> None:
    import s3fs

    store = s3fs.S3FileSystem()
    store.mkdir("checkpoints")
    url = "s3://checkpoints/run=1/model%20a"
    assert run_training(counting, {"epochs": 1}, workers=1, storage_url=url, name="counted")["resumed_at"] == 0
    again = run_training(counting, {"epochs": 2}, workers=1, storage_url=url, name="counted")
    assert (again["resumed_at"], again["sum"]) == (1, 3.5)
    kept = [key for key in store.find("checkpoints") if key.endswith("state.json")]
    assert len(kept) == 2
    assert all(key.startswith("checkpoints/run=1/model%20a/counted/") for key in kept)


@pytest.mark.slow  # a killed rank, and checkpoints on S3, are each tested on their own
def test_a_killed_rank_goes_on_from_a_checkpoint_on_s3(tmp_path: Path) -> None:
    import s3fs

    s3fs.S3FileSystem().mkdir("killed")
    config = {"epochs": 4, "at": 3, "how": "die once", "marks": str(tmp_path / "marks")}
    result = run_training(counting, config, workers=1, storage_url="s3://killed/runs", name="counted")
    assert (tmp_path / "marks").read_text() == "xx"
    # Ray may not have recorded the last report before the rank died
    assert result["resumed_at"] in (1, 2)
    assert (result["epoch"], result["sum"]) == (4, 16.375)


def counting(config: dict[str, Any], context: Context) -> dict[str, Any]:
    """Sum up epochs in place of training, and stumble where the configuration says so."""
    checkpoint = context.latest_checkpoint()
    state = json.loads(checkpoint["state.json"]) if checkpoint else {"epoch": 0, "sum": 0.0}
    resumed_at = state["epoch"]
    while state["epoch"] < config["epochs"]:
        state = {"epoch": state["epoch"] + 1, "sum": state["sum"] * 1.5 + state["epoch"] + 1}
        stumble(config, context.rank, state["epoch"])
        context.report(state, {"state.json": json.dumps(state).encode(), "note.txt": b"kept"})
    return {**state, "rank": context.rank, "ranks": context.world_size, "resumed_at": resumed_at}


def test_reports_arrive_in_order_and_the_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    reports: list[dict[str, Any]] = []
    result = run_training(counting, {"epochs": 4}, on_report=reports.append, **options(tmp_path))
    assert result == {"epoch": 4, "sum": 16.375, "rank": 0, "ranks": 1, "resumed_at": 0}
    assert [report["epoch"] for report in reports] == [1, 2, 3, 4]
    kept = sorted(path.parent for path in tmp_path.rglob("state.json"))
    assert [json.loads((path / "state.json").read_text())["epoch"] for path in kept] == [3, 4]
    assert (kept[0] / "note.txt").read_bytes() == b"kept"
    assert "RAY_CHDIR_TO_TRIAL_DIR" not in os.environ


def test_a_run_whose_record_of_checkpoints_is_half_written_starts_afresh(tmp_path: Path) -> None:
    run_training(counting, {"epochs": 2}, **options(tmp_path))
    (record,) = tmp_path.rglob("checkpoint_manager_snapshot.json")
    record.write_text(record.read_text()[:40])
    afresh = run_training(counting, {"epochs": 3}, **options(tmp_path))
    assert (afresh["resumed_at"], afresh["sum"]) == (0, 8.25)


def test_a_killed_rank_is_replaced_and_the_run_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    config = {"epochs": 4, "at": 3, "how": "die once", "marks": str(tmp_path / "marks")}
    result = run_training(counting, config, **options(tmp_path))
    assert (tmp_path / "marks").read_text() == "xx"
    # Ray may not have recorded the last report before the rank died
    assert result.pop("resumed_at") in (1, 2)
    assert result == {"epoch": 4, "sum": 16.375, "rank": 0, "ranks": 1}


def test_a_rank_that_always_dies_ends_the_run_with_a_paragraph(tmp_path: Path) -> None:
    config = {"epochs": 4, "at": 2, "how": "die", "marks": str(tmp_path / "marks")}
    with pytest.raises(
        TrainingError, match="'counted' lost processes more often than the 0 times allowed, the last time rank 0 of 1"
    ) as caught:
        run_training(counting, config, max_failures=0, **options(tmp_path))
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


def test_an_error_of_the_loop_is_named_and_not_tried_again(tmp_path: Path) -> None:
    config = {"epochs": 4, "rank": 1, "at": 2, "how": "raise", "marks": str(tmp_path / "marks")}
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(TrainingError) as caught:
        run_training(counting, config, **options(tmp_path, workers=2))
    assert str(caught.value) == (
        "the training 'counted' failed on one of its 2 ranks: ValueError: the feature rsi_9 of demo:AAA is constant"
    )
    assert "in stumble" in str(caught.value.__cause__)
    assert (tmp_path / "marks").read_text() == "x"
    assert signal.getsignal(signal.SIGINT) is before


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file, not a directory")
    with pytest.raises(
        TrainingError, match=r"'counted' could not be run on 1 ranks.*Cannot create directory.*checkpoints"
    ):
        run_training(counting, {"epochs": 1}, **options(tmp_path))


@pytest.mark.parametrize("url", ["memory://store", "somewhere", "file://"])
def test_a_store_that_ranks_cannot_see_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=f"cannot be kept at '{url}'.*file:// and s3:// are allowed"):
        run_training(counting, {"epochs": 1}, workers=1, storage_url=url, name="counted")


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[list[Arrays]]]:
    return train_network(tmp_path_factory.mktemp("ranks"), "two", 2)


def test_two_ranks_hold_the_weights_of_one_after_every_ten_steps(
    tmp_path: Path, two_ranks: tuple[dict[str, Any], list[list[Arrays]]]
) -> None:
    alone, (single,) = train_network(tmp_path, "one", 1)
    together, (first, second) = two_ranks
    assert same([first], [second])
    for arrays, expected in zip(first, single, strict=True):
        for array, other in zip(arrays, expected, strict=True):
            np.testing.assert_allclose(array, other, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(together["losses"], alone["losses"], rtol=1e-4)
    assert together["losses"][-1][0] < together["losses"][0][0]


@pytest.mark.slow  # two ranks that start twice take a minute
def test_a_port_that_was_taken_meanwhile_is_chosen_anew(
    tmp_path: Path, two_ranks: tuple[dict[str, Any], list[list[Arrays]]]
) -> None:
    place = tmp_path / "taken"
    _, weights = train_network(tmp_path, "taken", 2, port=str(place))
    assert place.exists()
    assert same(weights, two_ranks[1])


def test_a_network_loses_a_rank_and_ends_with_the_undisturbed_weights(
    tmp_path: Path, two_ranks: tuple[dict[str, Any], list[list[Arrays]]]
) -> None:
    # Ray may not have recorded the last report before the rank dies, so there are two
    config = {"rank": 1, "at": 3, "how": "die once", "marks": str(tmp_path / "marks")}
    result, weights = train_network(tmp_path, "disturbed", 2, **config)
    assert (tmp_path / "marks").read_text() == "xx"
    assert result["resumed"]
    assert result["losses"] == two_ranks[0]["losses"]
    assert same(weights, two_ranks[1])
