"""Activity on the ground from satellites: scenes of a STAC catalogue, an index of each area in them."""

from resources.alternative.satellite.areas import Area, read_areas
from resources.alternative.satellite.source import Satellite

__all__ = ["Area", "Satellite", "read_areas"]
