import sys
from pathlib import Path

# samples.py is shared by these tests; importlib mode keeps their folder off the path.
sys.path.insert(0, str(Path(__file__).parent))
