import sys
from pathlib import Path

# secure_web.py, the service under test, is shared by several folders; importlib mode keeps folders off the path.
sys.path.insert(0, str(Path(__file__).parent))
