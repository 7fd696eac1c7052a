from manor.testing.postgresql import new_postgresql, postgresql

__all__ = ["new_postgresql", "postgresql"]
