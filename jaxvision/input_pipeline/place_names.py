"""What the name of a street photo tells: Place Pulse's 'lat_lon_id_city'."""

import math


def parse_name(stem: str) -> tuple[str, tuple[float, float], str]:
    """(id, (latitude, longitude), city) of Place Pulse's 'lat_lon_id_city'.

    A name of another form is the id itself, at (NaN, NaN) in ''.
    """
    parts = stem.split("_", 3)
    try:
        latitude, longitude = float(parts[0]), float(parts[1])
        identifier, city = parts[2], parts[3] if len(parts) > 3 else ""
    except (ValueError, IndexError):
        return stem, (math.nan, math.nan), ""
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):
        return stem, (math.nan, math.nan), ""
    return identifier, (latitude, longitude), city
