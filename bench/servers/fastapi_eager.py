"""A plain FastAPI server over eager PyTorch, as tutorials write it, on uvicorn with uvloop and httptools."""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI, UploadFile
from model import load

app = FastAPI()
answer = load()


@app.post("/predict")
async def predict(file: UploadFile) -> dict[str, Any]:
    return answer([await file.read()])[0]


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning")
