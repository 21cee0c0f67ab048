"""Benchmarks that other programs read run to their end; what they measure is no test's business."""

import re
import subprocess
import sys

import pytest

from benchmarks import scale
from tests.conftest import ROOT


def test_the_page_on_scale_is_current():
    """It is drawn from the rates in the code, which change."""
    assert (ROOT / "docs" / "scale.md").read_text(encoding="utf-8") == scale.page(), "run `python -m benchmarks.scale`"


@pytest.mark.timeout(300)
def test_the_throughput_of_training_is_printed_last():
    command = [sys.executable, "benchmarks/train_throughput.py", "--turns", "1", "--batches", "2", "--batch", "32"]
    small = ["--filters", "4", "--dense", "8", "--features", "16"]
    done = subprocess.run([*command, *small], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"[\d.]+ samples/s", done.stdout.splitlines()[-1])
