"""What a model takes of a machine, and what a machine has. Plain data, all sizes in bytes."""

from msgspec import Struct, field

__all__ = ["Device", "Footprint", "Machine"]


class Footprint(Struct, frozen=True, kw_only=True):
    """What one loaded model takes: of the host's memory, and of GPUs by their index."""

    host: int = 0
    devices: dict[int, int] = field(default_factory=dict[int, int])


class Device(Struct, frozen=True, kw_only=True):
    """A GPU. `uuid` names it whatever its index; `free` is what no process holds now."""

    index: int
    name: str
    uuid: str
    total: int
    free: int


class Machine(Struct, frozen=True, kw_only=True):
    """A reading of the machine. The host's sizes are bounded by the cgroup this process is in."""

    cores: int
    host_total: int
    host_free: int
    devices: tuple[Device, ...] = ()
