"""Where a Redis is, as configuration says it. Kept by itself: what loads a configuration knows no streams."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

USER, PASSWORD = "REDIS_USERNAME", "REDIS_PASSWORD"
"""Names in the environment."""


def check_url(url: str) -> None:
    """Raise ValueError where this is no address of a Redis, or holds a secret; the message does not repeat one."""
    parts = urlsplit(url)
    asked = parse_qs(parts.query)
    if "@" in parts.netloc or "username" in asked or "password" in asked:
        raise ValueError(f"holds a name or password; put them into {USER} and {PASSWORD} of the environment")
    like = f"is {url!r}; it must be like redis://localhost:6379/0"
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        raise ValueError(like)
    try:
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"{like}: {error}") from None
    if parts.path.strip("/") and not parts.path.strip("/").isdecimal():
        raise ValueError(f"{like}: a database is a number")
