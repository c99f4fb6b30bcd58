"""TEMPORARY stand-in by the lead, to be replaced by helper."""
import os
from pathlib import Path
def store() -> Path:
    return Path(os.environ["NETWRIGHT_DATA"])
def fetch(urls, path, *, sha256=None, md5=None):
    return path
