"""Figures about Manor and the services it runs: collected, kept, exported."""
