"""Who operates the gateway: whoever shows the admin key, or without one whoever comes from this machine."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from typing import TYPE_CHECKING

from spillway.core.errors import InvalidApiKey
from spillway.gateway.callers import LONGEST_KEY
from spillway.gateway.heads import is_trusted_by_place

if TYPE_CHECKING:
    from spillway.core.secrets import Secret
    from spillway.gateway.exchange import Exchange


class Operator:
    """Lets operators in.

    Args:
        key: the admin key; None: loopback only.
    """

    def __init__(self, key: Secret | None) -> None:
        self._digest = None if key is None else hashlib.sha256(key.reveal().encode()).digest()

    def check(self, exchange: Exchange) -> None:
        """Return if the exchange is an operator's.

        Raises:
            InvalidApiKey: it is not.
        """
        if self._digest is None:
            if not (_is_loopback(exchange.peer) and is_trusted_by_place(exchange.headers)):
                raise InvalidApiKey("no admin key is set, so this is open to the gateway's own machine only")
            return
        if "authorization" in exchange.repeated:
            raise InvalidApiKey("more than one key was shown")
        scheme, _, shown = exchange.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not shown or len(shown) > LONGEST_KEY:
            raise InvalidApiKey("this needs the admin key as Authorization: Bearer")
        if not hmac.compare_digest(hashlib.sha256(shown.encode("utf-8", "surrogatepass")).digest(), self._digest):
            raise InvalidApiKey("the admin key is not valid")


def _is_loopback(peer: str) -> bool:
    try:
        return ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False
