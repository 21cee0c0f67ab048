"""The clustering notebook's own steps from bars to windows, and a plain loop over tickers that gives all of them."""

import warnings

import numpy as np
import pandas as pd
from sklearn.preprocessing import RobustScaler

from tests.quant.features_reference import pylabwons_tester

ANSWER = "return5"
Windows = tuple[np.ndarray, np.ndarray, np.ndarray]


def notebook_stack(wide: pd.DataFrame) -> pd.DataFrame:
    """Cell 2: the indicators of a frame with columns (ticker, field), stacked by time and ticker."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tester = pylabwons_tester()(wide)
        tester.calc_return(5)
        tester.calc_log_return()
        tester.add_typical_price()
        tester.add_bollinger_band("close", window=20, std=2)
        tester.add_macd("close", window_slow=26, window_fast=12, window_sign=9)
        tester.add_average_true_range(window=10)
        tester.add_volume_roc(window=7)
        tester.add_obv_slope(window=12)
        tester.add_rsi(window=9, offset=-50)
        for col in [
            *("open", "high", "low", "close", "tp", "amount", "volume"),
            *("bb_lower", "bb_lower_trend", "bb_middle", "bb_upper", "bb_upper_trend"),
            *("obv", "macd", "macd_signal", "return5High", "return5Low", "return5Mid"),
        ]:
            del tester[col]
    return tester.stack(level=0, future_stack=True)  # noqa: PD013


def notebook_scaled(stack: pd.DataFrame) -> tuple[pd.DataFrame, RobustScaler]:
    """Cell 3: one scaler over all rows, then the rows without a null."""
    feature_columns = [col for col in stack.columns if col != ANSWER]
    scaler = RobustScaler()
    scaled = (
        pd.DataFrame(columns=feature_columns, data=scaler.fit_transform(stack[feature_columns]), index=stack.index)
        .join(stack[[ANSWER]])
        .dropna()
    )
    return scaled, scaler


def chosen(df: pd.DataFrame, ans_val: float = 0.05) -> pd.MultiIndex:
    """Where the notebook asks for a window, in its order."""
    return df[df[ANSWER] >= ans_val].index


def extract_windows(df: pd.DataFrame, indices: pd.MultiIndex, window: int = 18) -> Windows:
    """Cell 4, line for line, but for the ``indices`` that it is asked for."""
    windows, final_targets, indices_for_verify = [], [], []
    grouped = df[[c for c in df.columns if c != ANSWER]].groupby(level=1)
    for time, ticker in indices:
        try:
            unit = grouped.get_group(ticker)
            curr = unit.index.get_loc((time, ticker))
            if curr >= window - 1:
                block = unit.iloc[curr - (window - 1) : curr + 1].values
                windows.append(block)
                final_targets.append(df.loc[(time, ticker), ANSWER])
                indices_for_verify.append((time, ticker))
        except KeyError:
            continue
    return np.array(windows), np.array(final_targets), np.array(indices_for_verify)


def all_windows(df: pd.DataFrame, ans_val: float = 0.05, window: int = 18) -> Windows:
    """What ``extract_windows`` gives for every index: the same by ticker, then put into the order of the frame."""
    row_of_frame = pd.Series(np.arange(len(df)), index=df.index)
    found = []
    for ticker, unit in df.groupby(level=1):
        answers = unit[ANSWER].to_numpy()
        rows = unit.drop(columns=ANSWER).to_numpy()
        times = unit.index.get_level_values(0)
        places = row_of_frame[unit.index].to_numpy()
        found += [
            (places[curr], (times[curr], ticker), rows[curr - (window - 1) : curr + 1], answers[curr])
            for curr in np.flatnonzero(answers >= ans_val)
            if curr >= window - 1
        ]
    found.sort(key=lambda row: row[0])
    _, indices, windows, targets = zip(*found, strict=True)
    return np.array(windows), np.array(targets), np.array(indices)
