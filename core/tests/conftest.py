import sys
from pathlib import Path

from hypothesis import settings

# secure_web.py, the service under test, is shared by several folders; importlib mode keeps folders off the path.
sys.path.insert(0, str(Path(__file__).parent))

# A property holds or not, whatever else the machine has to do: no example is held to a time.
settings.load_profile("ci")
