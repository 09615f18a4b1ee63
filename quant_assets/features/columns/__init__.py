"""Columns that are worked out of the bars before any feature: of the universe, and of the calendar.

They stand apart from the groups, whose definitions need to know them.
"""
