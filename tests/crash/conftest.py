import sys
from pathlib import Path

from manor.testing.postgresql import new_postgresql, postgresql

__all__ = ["new_postgresql", "postgresql"]

_LIFECYCLE = Path(__file__).parents[2] / "core" / "tests" / "lcm"
sys.path.insert(0, str(_LIFECYCLE))  # lcm_world.py, the stage
sys.path.insert(0, str(Path(__file__).parent))  # processes.py
sys.path.insert(0, str(Path(__file__).parents[1]))  # trial_packages.py
