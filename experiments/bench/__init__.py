"""Measurements: each module answers one question, and writes what it measured."""
