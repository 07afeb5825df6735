"""The shape in which such models were published: Flask behind waitress, one picture a call.

    python -m benchmarks.serving_flask --workdir=workdir/unet --port=8001

The model, and what is done to a picture before and after it, are those of `--mode=serve`.
"""

import argparse
import logging

import numpy as np
from flask import Flask, Response, jsonify, request
from waitress import serve

from jaxvision import workdir
from jaxvision.serve.models import open_engine
from jaxvision.serve.pictures import decode


def make_app(engine) -> Flask:
    """POST /inference and POST /predict, as of `--mode=serve`."""
    app = Flask("published")

    def predict(picture):
        prepared = engine.predictor.prepare(picture)
        outputs = engine.predict(prepared.inputs)
        outputs = {name: np.asarray(array) for name, array in outputs.items()}
        return engine.predictor.decode(outputs, prepared.context, engine.fitted)

    @app.post("/inference")
    def inference():
        picture = np.array(request.get_json()["image"], np.uint8)
        prediction = predict(picture)
        if "mask" in prediction.arrays:
            return jsonify(prediction=prediction.arrays["mask"].astype(int).tolist())
        return jsonify(prediction=prediction.record)

    @app.post("/predict")
    def record():
        prediction = predict(decode(request.get_data(), 2**25))
        return jsonify(prediction.record)

    @app.get("/readyz")
    def ready():
        return Response("ready")

    return app


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it tells of every full thread
    config = workdir.read_config(options.workdir)
    serve(make_app(open_engine(config, options.workdir)), port=options.port, host="127.0.0.1",
          threads=4)  # fmt: skip


if __name__ == "__main__":
    main()
