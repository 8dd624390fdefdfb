"""Images: get them (`fetch`), read their labels (`load`), hold classes out (`holdout`), decode once (`decoded`)."""

from .cache import cache_dir, decoded
from .fetch import fetch
from .layouts import load
from .splits import DataSet, Split, holdout

__all__ = ["DataSet", "Split", "cache_dir", "decoded", "fetch", "holdout", "load"]
