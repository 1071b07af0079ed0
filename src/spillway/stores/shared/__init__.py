"""What processes share through a store, wherever that is: limits."""

from __future__ import annotations

from spillway.stores.shared.port import Store, StoreLink, StoreSettings
from spillway.stores.shared.sharing import Sharing

__all__ = ["Sharing", "Store", "StoreLink", "StoreSettings"]
