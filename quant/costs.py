"""What trading costs, and the account it starts with."""

from dataclasses import dataclass, fields

from quant.parameters import BracketError, is_number


@dataclass(frozen=True)
class Costs:
    """Costs of trading; everything but the cash is 0 by default.

    The first two are all that backtesting.py knows; `quant.bracket.reference` refuses the others.

    Parameters
    ----------
    commission
        Fraction of the traded value, paid at entry and at exit; a rebate is negative.
    cash
        Starting cash in quote currency. With whole units, an asset dearer than the cash is never bought.
    maker_commission
        The same for orders that rest in the book (targets, limit entries); None for the same as ``commission``.
    slippage
        Fraction by which fills at market (entries, stops, closes) are worse than the price.
    lot_size
        Smallest step of a size, in units of the asset.
    minimum_notional
        Least value of an entry in quote currency; smaller ones are not made.
    maintenance_margin
        Fraction of the position's value below which the margin of a position may not fall: then it is liquidated,
        within the bar. At 0 nothing is liquidated before the equity is gone at a close.
    liquidation_fee
        Fraction of the value of a liquidated position, paid on top of the commission.

    Raises
    ------
    BracketError
        If a value is out of range.
    """

    commission: float = 0.0
    cash: float = 100_000.0
    maker_commission: float | None = None
    slippage: float = 0.0
    lot_size: float = 1.0
    minimum_notional: float = 0.0
    maintenance_margin: float = 0.0
    liquidation_fee: float = 0.0

    def __post_init__(self) -> None:
        """Check every value."""
        for name in ("commission", "maker_commission"):
            rate = getattr(self, name)
            if name == "maker_commission" and rate is None:
                continue
            if not is_number(rate) or not -0.1 <= rate < 0.1:
                raise BracketError(f"{name} is {rate!r}; allowed: a fraction from -0.1 to below 0.1")
        for name in ("cash", "lot_size"):
            value = getattr(self, name)
            if not is_number(value) or value <= 0:
                raise BracketError(f"{name} is {value!r}; allowed: a finite number above 0")
        if not is_number(self.minimum_notional) or self.minimum_notional < 0:
            raise BracketError(f"minimum_notional is {self.minimum_notional!r}; allowed: a finite number, 0 or more")
        for name in ("slippage", "maintenance_margin", "liquidation_fee"):
            share = getattr(self, name)
            if not is_number(share) or not 0 <= share < 1:
                raise BracketError(f"{name} is {share!r}; allowed: a fraction from 0 to below 1")

    @property
    def maker(self) -> float:
        """Rate of an order that rests in the book."""
        return self.commission if self.maker_commission is None else self.maker_commission

    def beyond_reference(self) -> list[str]:
        """Names of the costs that are set and that backtesting.py does not know."""
        plain = Costs(self.commission, self.cash)
        return [field.name for field in fields(self) if getattr(self, field.name) != getattr(plain, field.name)]
