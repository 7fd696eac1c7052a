"""Help for plugin authors: write a repository, check a plugin, run the conformance kit against a live endpoint.

Used by ``manor plugin`` alone. The templates are part of the distribution, so they are of the same version as the API.
"""

from manor.authoring.generate import KINDS, Kind, new_plugin

__all__ = ["KINDS", "Kind", "new_plugin"]
