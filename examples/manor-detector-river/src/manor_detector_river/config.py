"""Settings, shown by ``manor plugin show detector-river``."""

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["RiverConfig"]


class RiverConfig(BaseModel):
    """A river detector."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    window_rows: int = Field(100, ge=20, le=10_000, description="Rows of a window: the trees hold the last whole one.")
    trees: int = Field(25, ge=1, le=200, description="Half-space trees in the forest.")
    height: int = Field(8, ge=2, le=12, description="Height of each tree.")
    sigmas: float = Field(4.0, gt=0, description="Deviations of the usual score above its mean that are abnormal.")
    seed: int = Field(1, ge=0, description="What the trees are drawn with: the same seed gives the same verdicts.")
