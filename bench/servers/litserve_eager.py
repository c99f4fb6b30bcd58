"""LitServe over eager PyTorch; the second argument is how many requests share a batch."""

from __future__ import annotations

import sys
from typing import Any

import litserve as ls


class Api(ls.LitAPI):
    def setup(self, device: str) -> None:
        from model import load

        self.answer = load()

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # LitServe reads the annotation
        return request["file"].file.read()

    def predict(self, inputs: Any) -> Any:
        return self.answer(inputs) if isinstance(inputs, list) else self.answer([inputs])[0]

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        return inputs

    def unbatch(self, outputs: list[Any]) -> list[Any]:
        return outputs

    def encode_response(self, output: Any) -> Any:
        return output


if __name__ == "__main__":
    most = int(sys.argv[2])
    api = Api(max_batch_size=most, batch_timeout=0.005) if most > 1 else Api()
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(port=int(sys.argv[1]), host="127.0.0.1", log_level="warning", generate_client_file=False)
