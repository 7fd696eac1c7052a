"""The catalogue: packages and descriptors in, whatever their language and wrapping, as one information model.

Readers never raise for what a file holds: they report findings with their place, and read on. Start at
:mod:`manor.catalog.validate` (look only) or :mod:`manor.catalog.onboard` (keep).
"""
