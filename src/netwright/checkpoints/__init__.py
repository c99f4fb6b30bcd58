"""Checkpoints that outlive a crash, and weights that any safetensors reader takes. No pickle anywhere.

`generations` holds the commit protocol, `state` turns a nested state into tensors and JSON, `weights` writes parameters
alone, `beside` waits for the disk in a thread, `netwright.disk` is the disk they go to.
"""

from netwright.checkpoints.beside import Beside, copied
from netwright.checkpoints.generations import Loaded, load, save
from netwright.checkpoints.weights import digest_of, read_weights, write_weights
from netwright.disk import DISK, Disk, atomic_write_bytes, atomic_write_text

__all__ = [
    "DISK",
    "Beside",
    "Disk",
    "Loaded",
    "atomic_write_bytes",
    "atomic_write_text",
    "copied",
    "digest_of",
    "load",
    "read_weights",
    "save",
    "write_weights",
]
