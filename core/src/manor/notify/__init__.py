"""Telling subscribers what was committed."""
