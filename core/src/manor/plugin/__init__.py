"""The plugin host: finds plugins, keeps their faults to themselves, and hands core what they provide.

An instance of :class:`Plugins` is made at start and passed around; there is no global one.
"""

from manor.plugin.calling import Outcome, Provided
from manor.plugin.counters import CallCount, Counters, InFlight
from manor.plugin.discovery import BUILTIN, PluginSettings
from manor.plugin.guard import guard, unguarded
from manor.plugin.host import Plugins
from manor.plugin.listing import PluginInfo, PluginState

__all__ = [
    "BUILTIN",
    "CallCount",
    "Counters",
    "InFlight",
    "Outcome",
    "PluginInfo",
    "PluginSettings",
    "PluginState",
    "Plugins",
    "Provided",
    "guard",
    "unguarded",
]
