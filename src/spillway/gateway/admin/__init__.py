"""The operator's side of the gateway: what there is to see, and what there is to do."""

from __future__ import annotations

from spillway.gateway.admin.console import Console
from spillway.gateway.admin.doors import DEPLOYMENTS, deployment, deployments, reload
from spillway.gateway.admin.events import events
from spillway.gateway.admin.page import dashboard

__all__ = ["DEPLOYMENTS", "Console", "dashboard", "deployment", "deployments", "events", "reload"]
