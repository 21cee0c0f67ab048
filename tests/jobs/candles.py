"""Files of candles as services publish them."""

import io
import zipfile

import numpy as np
import pandas as pd


def klines(frame: pd.DataFrame, unit: str = "ms", header: bool = False) -> bytes:
    """A zip as Binance publishes them."""
    opens = pd.DatetimeIndex(frame.index).as_unit(unit).asi8
    length = pd.Timedelta("15min") // pd.Timedelta(1, unit)
    rest = {name: np.zeros(len(frame)) for name in ("quote_volume", "count", "taker_buy", "taker_buy_quote", "ignore")}
    table = pd.DataFrame({"open_time": opens, **frame.reset_index(drop=True), "close_time": opens + length - 1, **rest})
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("klines.csv", table.to_csv(index=False, header=header))
    return packed.getvalue()
