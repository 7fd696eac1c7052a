"""The ETSI information model as frozen types: descriptors, instances, operations. Pure: no I/O, no clock, no SQL."""
