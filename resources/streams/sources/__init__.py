"""Connections to the streams of venues, one module a venue."""
