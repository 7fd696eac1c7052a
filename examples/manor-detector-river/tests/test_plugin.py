"""What every plugin must be: quick to import, honest about its hooks, plain in its words."""

from manor.testing import PluginConformance


class TestPlugin(PluginConformance):
    module = "manor_detector_river"
