"""From what is seen to a heal that can be explained: symptom → alarm → decision → budget → operation.

Everything that decides is a pure function of values; :mod:`manor.assure.loop` looks, asks them, and acts.
"""
