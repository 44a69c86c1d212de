"""Bytes by device: the sums that `models.residency` makes of them. A room of None has no end."""

from models.footprint import Footprint

__all__ = ["HOST", "Sizes", "add", "added", "beyond", "reserve", "sizes", "take"]

HOST = -1  # among devices by their index
Sizes = dict[int, int]


def sizes(footprint: Footprint) -> Sizes:
    """A footprint by device."""
    found = {index: size for index, size in footprint.devices.items() if size}
    if footprint.host:
        found[HOST] = footprint.host
    return found


def add(total: Sizes, more: Sizes) -> None:
    """Add to a sum in place."""
    for device, size in more.items():
        total[device] = total.get(device, 0) + size


def added(first: Sizes | None, second: Sizes) -> Sizes | None:
    """The sum of two; None is without end."""
    if first is None:
        return None
    return {d: first.get(d, 0) + second.get(d, 0) for d in {*first, *second}}


def beyond(needs: Sizes, room: Sizes | None) -> Sizes:
    """What does not fit, by device; empty if all does."""
    if room is None:
        return {}
    missing = {device: size - room.get(device, 0) for device, size in needs.items()}
    return {device: size for device, size in missing.items() if size > 0}


def take(room: Sizes | None, needs: Sizes) -> None:
    """Take from a room in place; it may become less than nothing."""
    if room is not None:
        for device, size in needs.items():
            room[device] = room.get(device, 0) - size


def reserve(needs: Sizes, coming: Sizes, free: Sizes | None) -> None:
    """Set memory aside, of what is coming first."""
    for device, size in needs.items():
        of_coming = min(size, coming.get(device, 0))
        take(coming, {device: of_coming})
        take(free, {device: size - of_coming})
