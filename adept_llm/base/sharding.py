"""How DeepSpeed spreads a frozen base over ranks, as far as memory is concerned."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adept_llm.errors import InputError

# DeepSpeed's default of stage3_max_live_parameters: so many may be whole at a time
MOST_LIVE = 1_000_000_000


@dataclass(frozen=True)
class Sharding:
    """What each rank holds of the base.

    Attributes:
        ranks: Processes, one for each GPU.
        stage: Of ZeRO. Stages below 3 leave the whole base on each rank: the optimizer states that
            they spread are those of the adapter, which are small.
        offload: Whether a rank's slice lies in the host's memory, or on NVMe.
        most_live: Parameters that stage 3 keeps whole at a time.

    Raises:
        InputError: for less than one rank.
    """

    ranks: int = 1
    stage: int = 0
    offload: bool = False
    most_live: int = MOST_LIVE

    def __post_init__(self) -> None:
        if self.ranks < 1:
            raise InputError("ranks: must be at least 1")

    @classmethod
    def of(cls, deepspeed: Mapping[str, Any], ranks: int) -> "Sharding":
        """What a DeepSpeed configuration says."""
        zero = deepspeed.get("zero_optimization", {})
        stage = int(zero.get("stage", 0))
        device = zero.get("offload_param", {}).get("device", "none")
        live = zero.get("stage3_max_live_parameters", MOST_LIVE)
        return cls(
            ranks, stage, stage == 3 and device != "none",
            MOST_LIVE if live == "auto" else int(live),
        )  # fmt: skip

    def held(self, weights: int, parameters: int) -> int:
        """Bytes of the base on one GPU: its slice, and at most what is whole meanwhile.

        Args:
            weights: Bytes of the whole base.
            parameters: Of it.
        """
        if self.stage < 3:
            return weights
        live = weights * min(parameters, self.most_live) // parameters
        return min(weights, (0 if self.offload else weights // self.ranks) + live)
