"""What requests cost: money, prices, estimates, and the ledger that holds spending under its caps."""

from spillway.remote.cost.estimate import CostEstimate, input_bound, lost_attempt_cost, output_bound
from spillway.remote.cost.ledger import CostLedger, Reservation, require_price, reserve_all
from spillway.remote.cost.money import PICO_PER_USD, pico_to_usd, told_pico, usd_to_pico
from spillway.remote.cost.output_p95 import OutputP95
from spillway.remote.cost.prices import PriceEntry, PriceTable, Rates
from spillway.remote.cost.snapshot import LedgerSnapshot, WindowSnapshot

__all__ = [
    # spending
    "CostLedger",
    "LedgerSnapshot",
    "Reservation",
    "WindowSnapshot",
    "require_price",
    "reserve_all",
    # estimates
    "CostEstimate",
    "OutputP95",
    "input_bound",
    "lost_attempt_cost",
    "output_bound",
    # prices
    "PriceEntry",
    "PriceTable",
    "Rates",
    # money
    "PICO_PER_USD",
    "pico_to_usd",
    "told_pico",
    "usd_to_pico",
]
