"""What each address answers, beside what the bundle itself answers."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from netwright.answering.predictor import Predictor
from serving import bundles
from serving.running import Running, error_of

TOLERANCE = 1e-6  # batches of other sizes add in another order


@pytest.fixture(scope="module")
def client(server: Running) -> Any:
    with httpx.Client(base_url=server.address, timeout=30) as one:
        yield one


def same(told: dict[str, Any], answer: dict[str, Any]) -> None:
    assert told["label"] == answer["label"]
    assert told["probabilities"] == pytest.approx(answer["probabilities"], abs=TOLERANCE)


@pytest.mark.parametrize("way", ["raw", "octets", "form", "json", "data uri", "pixels"])
def test_a_picture_is_answered_however_it_comes(client: httpx.Client, made: Path, way: str) -> None:
    """The answer is the bundle's own, for a body, a form, base64 and pixels."""
    content = bundles.png(7)
    answer = Predictor.open(made / "digits").predict([content])[0]
    encoded = base64.b64encode(content).decode()
    sent: dict[str, Any] = {
        "raw": {"content": content, "headers": {"content-type": "image/png"}},
        "octets": {"content": content, "headers": {"content-type": "application/octet-stream"}},
        "form": {"files": {"file": ("a b.png", content, "image/png")}},
        "json": {"json": {"input": encoded}},
        "data uri": {"json": {"input": f"data:image/png;base64,{encoded}"}},
        "pixels": {"json": {"input": np.asarray(Image.open(io.BytesIO(content))).tolist()}},
    }[way]
    reply = client.post("/predict", **sent)
    assert reply.status_code == 200, reply.text
    told = reply.json()
    assert told["name"] == "input"
    same(told, answer)


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_other_formats_of_pictures_are_read_as_training_read_them(client: httpx.Client, made: Path, kind: str) -> None:
    """What a camera or browser makes is answered as the bundle answers it."""
    content = bundles.png(8, size=40, mode="RGB", kind=kind)
    answer = Predictor.open(made / "digits").predict([content])[0]
    same(client.post("/predict", files={"file": content}).json(), answer)


def test_texts_rows_and_sounds_are_answered(client: httpx.Client, made: Path) -> None:
    """Each kind, by the name of its model."""
    text = Predictor.open(made / "texts").predict(["好 day"])[0]
    same(client.post("/predict?model=texts", json={"input": "好 day"}).json(), text)
    same(
        client.post(
            "/models/texts/predict", content="好 day\n".encode(), headers={"content-type": "text/plain"}
        ).json(),
        text,
    )
    row = {"age": 40, "town": "Oslo"}
    value = Predictor.open(made / "rows").predict([row])[0]["value"]
    assert client.post("/models/rows/predict", json={"input": row}).json()["value"] == list(value)
    assert client.post("/models/rows/predict", files={"age": (None, "40"), "town": (None, "Oslo")}).json()[
        "value"
    ] == list(value)
    wave = bundles.wav(300)
    sound = Predictor.open(made / "sounds").predict([wave])[0]
    same(client.post("/predict?model=sounds@1", content=wave, headers={"content-type": "audio/wav"}).json(), sound)


def test_a_batch_answers_each_and_tells_what_it_cannot_read(client: httpx.Client) -> None:
    """The third of four is no picture; the others are answered in their places."""
    good = [base64.b64encode(bundles.png(seed)).decode() for seed in range(3)]
    inputs = [good[0], good[1], base64.b64encode(b"no picture").decode(), good[2]]
    reply = client.post("/predict/batch", json={"inputs": inputs})
    assert reply.status_code == 200, reply.text
    answers = reply.json()["answers"]
    assert [sorted(one)[:1] for one in answers] == [["confidence"], ["confidence"], ["error"], ["confidence"]]
    assert [one["name"] for one in answers] == [f"input {place}" for place in range(4)]
    same(answers[3], client.post("/predict", json={"input": good[2]}).json())
    files = [("file", (f"{seed}.png", bundles.png(seed), "image/png")) for seed in range(3)]
    answers = client.post("/predict/batch", files=files).json()["answers"]
    same(answers[2], client.post("/predict", json={"input": good[2]}).json())


def test_explanations_show_what_was_seen_and_where(client: httpx.Client) -> None:
    """A picture's PNG is what the model got; a token that matters falls; a column that matters moves."""
    content = bundles.png(7)
    told = client.post("/predict?explain=1", content=content, headers={"content-type": "image/png"}).json()
    shown = Image.open(io.BytesIO(base64.b64decode(told["seen"]["png"].partition(",")[2])))
    assert np.array_equal(np.asarray(shown), np.asarray(Image.open(io.BytesIO(content))))
    grid = np.asarray(told["where"]["grid"])
    assert grid.shape == (7, 7)
    changed = np.asarray(Image.open(io.BytesIO(content))).copy()
    changed[:4, :4] = np.uint8(changed.mean())
    after = client.post("/predict", json={"input": changed.tolist()}).json()
    assert grid[0, 0] == pytest.approx(told["confidence"] - after["probabilities"][told["label"]], abs=1e-5)

    told = client.post("/predict?model=texts&explain=1", json={"input": "aab"}).json()
    assert told["seen"] == {"tokens": ["a", "a", "b"]}
    first, second, third = told["where"]["tokens"]
    assert first == pytest.approx(second, abs=1e-5) and first != pytest.approx(third, abs=1e-3)

    told = client.post("/predict?model=rows&explain=1", json={"input": {"age": 40, "town": "Oslo"}}).json()
    without = client.post("/predict?model=rows", json={"input": {"town": "Oslo"}}).json()
    assert told["where"]["columns"]["age"] == pytest.approx(abs(told["value"][0] - without["value"][0]), abs=1e-5)

    told = client.post(
        "/predict?model=sounds&explain=1", content=bundles.wav(300), headers={"content-type": "audio/x-wav"}
    ).json()
    assert len(told["where"]["stretches"]) == 32
    assert Image.open(io.BytesIO(base64.b64decode(told["seen"]["png"].partition(",")[2]))).height == 64


def test_models_tell_what_a_page_needs(client: httpx.Client) -> None:
    """Names, and of one its fields, classes, samples and limits."""
    listed = client.get("/models").json()["models"]
    assert [one["name"] for one in listed] == ["digits", "texts", "apart", "rows", "sounds"]
    assert listed[0] == {
        "name": "digits",
        "version": "1",
        "ready": True,
        "title": "Net on digits",
        "kind": "image",
        "task": "classification",
    }
    told = client.get("/models/digits").json()
    assert (
        told["classes"] == bundles.CLASSES and len(told["samples"]) == 3 and told["limits"]["max_pixels"] == 40_000_000
    )
    for sample in told["samples"]:
        assert client.post("/models/digits/predict", json={"input": sample}).status_code == 200


def test_the_open_inference_protocol_answers_tensors(client: httpx.Client, made: Path) -> None:
    """Metadata, health, and an inference whose numbers are the graph's."""
    assert client.get("/v2").json()["name"] == "netwright"
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    about = client.get("/v2/models/digits/versions/1").json()
    assert about["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 1, 28, 28]}]
    assert client.get("/v2/models/digits/versions/1/ready").json() == {"name": "digits", "ready": True}
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(bundles.png(seed)))) for seed in (1, 2)])[:, None]
    tensor = {"name": "image", "datatype": "UINT8", "shape": [2, 1, 28, 28]}
    for data in (pixels.tolist(), pixels.ravel().tolist()):
        body = {"id": "mine", "inputs": [tensor | {"data": data}]}
        reply = client.post("/v2/models/digits/infer", json=body)
        assert reply.status_code == 200, reply.text
        told = reply.json()
        assert (told["id"], told["model_name"], told["model_version"]) == ("mine", "digits", "1")
        (output,) = told["outputs"]
        assert (output["name"], output["datatype"], output["shape"]) == ("probabilities", "FP32", [2, 10])
        answers = Predictor.open(made / "digits").predict([bundles.png(1), bundles.png(2)])
        expected = [one["probabilities"][name] for one in answers for name in bundles.CLASSES]
        assert output["data"] == pytest.approx(expected, abs=TOLERANCE)


WRONG = {
    "no inputs": {},
    "another name": {"inputs": [{"name": "x", "datatype": "UINT8", "shape": [1, 1, 28, 28], "data": [0] * 784}]},
    "another type": {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 1, 28, 28], "data": [0] * 784}]},
    "another shape": {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 1, 28, 27], "data": [0] * 756}]},
    "one value less": {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 1, 28, 28], "data": [0] * 783}]},
    "a value too large": {
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 1, 28, 28], "data": [256] + [0] * 783}]
    },
    "a text": {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 1, 28, 28], "data": ["0"] * 784}]},
    "huge shape": {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [2**62, 1, 28, 28], "data": [0]}]},
    "negative": {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 1, 28, 28], "data": []}]},
    "empty": {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [0, 1, 28, 28], "data": []}]},
    "twice": {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 1, 28, 28], "data": [0] * 784}] * 2},
    "ragged": {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 1, 28, 28], "data": [[0], [0, 1]]}]},
    "other outputs": {
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 1, 28, 28], "data": [0] * 784}],
        "outputs": [{"name": "weights"}],
    },
    "no object": [],
}


@pytest.mark.parametrize("what", WRONG)
def test_tensors_that_are_not_the_graphs_are_refused(client: httpx.Client, what: str) -> None:
    """Names, types, shapes and values are checked; nothing of the shape's size is made."""
    reply = client.post("/v2/models/digits/infer", json=WRONG[what])
    assert reply.status_code in (400, 413, 422)
    assert "image" in error_of(reply.content)["message"] or what in ("no inputs", "no object", "other outputs")


def test_tokens_beyond_the_vocabulary_are_refused(client: httpx.Client) -> None:
    """A graph's own complaint is a refusal, and tells no place of its code."""
    shape = {"shape": [1, 2]}
    tokens = {"name": "tokens", "datatype": "INT64", "data": [1, 10**9]} | shape
    mask = {"name": "mask", "datatype": "BOOL", "data": [True, True]} | shape
    reply = client.post("/v2/models/texts/infer", json={"inputs": [tokens, mask]})
    assert reply.status_code == 422
    assert not re.search(r"\.cc|/|0x", error_of(reply.content)["message"])
    assert client.post("/v2/models/texts/infer", json={"inputs": [tokens | {"data": [1, 2]}, mask]}).status_code == 200


def test_the_page_is_served_with_a_strict_policy(client: httpx.Client) -> None:
    """The page and its files come from here alone; nothing else of the folder does."""
    reply = client.get("/")
    assert reply.status_code == 200 and reply.headers["content-type"].startswith("text/html")
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    for name in re.findall(r"(?:href|src)=\"([^\"#]+)\"", reply.text):
        assert not name.startswith(("http:", "https:", "//"))
        assert client.get(f"/{name}").status_code == 200
    for path in (
        "/page/",
        "/page/..%2fcommand.py",
        "/page/%2e%2e/command.py",
        "/page/../command.py",
        "/page/%252e%252e/x",
    ):
        assert client.get(path).status_code == 404


def test_metrics_count_requests_batches_and_loads(client: httpx.Client) -> None:
    """What was asked is counted by the server's own routes, never by what clients write."""
    client.get("/models/rows")
    client.get("/secret-word-of-a-client")
    text = client.get("/metrics").text
    assert 'netwright_requests_total{route="/models/{name}",status="200"}' in text
    assert 'netwright_model_loads_total{model="digits@1",outcome="loaded"} 1.0' in text
    assert 'netwright_batch_size_count{model="digits@1"}' in text and "netwright_queue_length" in text
    assert "secret-word" not in text


def test_each_request_has_an_id_and_the_log_has_no_inputs(client: httpx.Client, server: Running) -> None:
    """A sane id is kept, another is replaced; lines of the log are JSON and tell no input."""
    reply = client.post("/predict?model=texts", json={"input": "xyzzy secret"}, headers={"x-request-id": "mine-1"})
    assert reply.headers["x-request-id"] == "mine-1"
    made = client.get("/v2", headers={"x-request-id": "a b\tc"}).headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{8}", made)
    client.post("/predict?model=texts&q=xyzzy", json={"inputx": "xyzzy"})
    server.wait_for("request")
    assert error_of(client.get("/xyzzy", headers={"x-request-id": "mine-2"}).content)["request_id"] == "mine-2"
    while not any(line.get("id") == "mine-2" for line in server.lines):
        pass
    assert not any("xyzzy" in line for line in server.raw)
    line = next(line for line in server.lines if line.get("id") == "mine-1")
    assert (line["route"], line["status"], line["method"]) == ("/predict", 200, "POST")


def test_the_description_has_examples_that_are_answered(client: httpx.Client) -> None:
    """OpenAPI describes every address, and its examples are good requests of this very model."""
    told = client.get("/openapi.json").json()
    assert {
        "/predict",
        "/predict/batch",
        "/models/rows/predict",
        "/v2/models/texts/versions/1/infer",
        "/metrics",
    } <= set(told["paths"])
    body = told["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert len(body["examples"]) == 3
    for example in body["examples"].values():
        assert client.post("/predict", json=example["value"]).status_code == 200
    several = told["paths"]["/predict/batch"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert client.post("/predict/batch", json=next(iter(several.values()))["value"]).status_code == 200
    assert not re.search(
        r"\"\$ref\": \"#/components/schemas/(?!Error|Answer|Answers|Prediction|Tensors|Span|ForecastStep)",
        json.dumps(told),
    )


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/predict", 405),
        ("DELETE", "/models/digits", 405),
        ("GET", "/models/none", 404),
        ("HEAD", "/models", 200),
        ("GET", "/docs", 404),
        ("POST", "/v2/models/digits/versions/7/infer", 404),
        ("OPTIONS", "/predict", 405),
        ("GET", "/models/", 404),
    ],
)
def test_other_addresses_and_methods_are_told(client: httpx.Client, method: str, path: str, status: int) -> None:
    """404 and 405 with a sentence, and no more than that."""
    reply = client.request(method, path)
    assert reply.status_code == status
    if status >= 400:
        error_of(reply.content)
    if status == 405:
        assert reply.headers["allow"]
