import sys
from pathlib import Path

# lcm_world.py is shared by the tests of this folder and by those of tests/crash.
sys.path.insert(0, str(Path(__file__).parent))
