import sys
from pathlib import Path

# The service under test is shared by this folder's files; importlib mode keeps folders off the path.
sys.path.insert(0, str(Path(__file__).parent))
