pytest_plugins = ["manor.testing.pytest_plugin"]
