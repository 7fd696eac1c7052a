"""Everything Manor remembers, and the only place that knows SQL.

Callers see domain types of :mod:`manor.model.instance` and transactions, never a table. Importing this package
loads nothing: quick listings go through :mod:`manor.store.reading` on ``sqlite3`` alone, the rest through
:mod:`manor.store.database`, which brings SQLModel.
"""
