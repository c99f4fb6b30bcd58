"""Placeholder types until the data helper writes this file in full."""
from __future__ import annotations
from pydantic import BaseModel, ConfigDict
class Preprocess(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    operations: tuple[dict, ...] = ()
