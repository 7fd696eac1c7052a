"""Pictures and texts as pure functions of their values: nothing here reads the world or writes to it."""
