"""The carriers of events: in process, and others behind the same protocol."""
