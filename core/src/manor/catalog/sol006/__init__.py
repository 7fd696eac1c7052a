"""SOL006 (YANG): YAML or JSON to the information model, as ETSI has it and as OSM writes it."""
