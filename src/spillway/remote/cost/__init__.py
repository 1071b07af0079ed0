"""What requests cost: money, prices, estimates, and the ledger that holds spending under its caps."""

from spillway.remote.cost.caps import require_price
from spillway.remote.cost.estimate import (
    CostEstimate,
    cost_bound,
    input_bound,
    lost_attempt_cost,
    output_bound,
    service_of,
)
from spillway.remote.cost.ledger import CostLedger, Reservation, reserve_all
from spillway.remote.cost.money import PICO_PER_USD, pico_to_usd, told_pico, usd_to_pico
from spillway.remote.cost.output_p95 import OutputP95
from spillway.remote.cost.prices import PriceTable
from spillway.remote.cost.rates import PriceEntry, Rates
from spillway.remote.cost.snapshot import (
    BUDGET_MODES,
    STORE_LOST_MEANS,
    BudgetMode,
    LedgerSnapshot,
    WindowSnapshot,
)

__all__ = [
    # spending
    "BUDGET_MODES",
    "STORE_LOST_MEANS",
    "BudgetMode",
    "CostLedger",
    "LedgerSnapshot",
    "Reservation",
    "WindowSnapshot",
    "require_price",
    "reserve_all",
    # estimates
    "CostEstimate",
    "OutputP95",
    "cost_bound",
    "input_bound",
    "lost_attempt_cost",
    "output_bound",
    "service_of",
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
