"""A server over bundles: FastAPI on uvicorn, answers by onnxruntime. No torch here."""
