def checks():
    yield from ()
