"""The items of the deployment checklist, in order."""

from __future__ import annotations

from labcheck.checks.item_01_domain import ITEM as DOMAIN
from labcheck.checks.item_02_https import ITEM as HTTPS
from labcheck.checks.item_03_health import ITEM as HEALTH
from labcheck.checks.item_04_logs import ITEM as LOGS
from labcheck.checks.item_05_rotation import ITEM as ROTATION
from labcheck.checks.item_06_firewall import ITEM as FIREWALL
from labcheck.checks.item_07_account import ITEM as ACCOUNT
from labcheck.checks.item_08_secrets import ITEM as SECRETS
from labcheck.checks.item_09_supervisor import ITEM as SUPERVISOR
from labcheck.checks.item_10_monitoring import ITEM as MONITORING
from labcheck.checks.item_11_backups import ITEM as BACKUPS
from labcheck.checks.item_12_ssh import ITEM as SSH
from labcheck.checks.item_13_limits import ITEM as LIMITS
from labcheck.checks.item_14_errors import ITEM as ERRORS
from labcheck.checks.item_15_cost import ITEM as COST
from labcheck.checks.model import Item

ITEMS: tuple[Item, ...] = (
    DOMAIN, HTTPS, HEALTH, LOGS, ROTATION, FIREWALL, ACCOUNT, SECRETS, SUPERVISOR,
    MONITORING, BACKUPS, SSH, LIMITS, ERRORS, COST,
)  # fmt: skip


def items(numbers: list[int]) -> tuple[Item, ...]:
    """The items of these numbers, in the checklist's order; all of them for an empty list.

    Raises ValueError for a number that is not on the checklist.
    """
    known = {item.number for item in ITEMS}
    if wrong := [number for number in numbers if number not in known]:
        raise ValueError(f"there is no item {wrong[0]}: the checklist has {min(known)} to {max(known)}")
    return tuple(item for item in ITEMS if not numbers or item.number in numbers)
