"""A package, so that tests can import what they share (tests.venues); an installed package is named tests too."""
