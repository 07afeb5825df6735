"""How many requests a second `--mode=serve` answers, and what it does when there are too many.

    python -m benchmarks.serving                  # its own, barely trained models; under 8 minutes
    python -m benchmarks.serving --fer=workdir/fer --rat=workdir/rat --unet=workdir/unet
    python -m benchmarks.serving --parts=rates --seconds=2 --rounds=1

Parts:
  rates      requests/s, p50 and p99 at 1, 4, 16 and 64 clients, in turn with the published shape
             (Flask behind waitress, one picture a call; `serving_flask.py`): FER and rat get the
             bytes of a picture, the U-Net 256 x 256 x 3 numbers as JSON.
  json       what the server adds to the U-Net's own time for one such request.
  overload   10,000 requests at twice the rate that 16 clients reached.
  memory     100,000 requests, with the server's memory after every tenth of them.
  restart    kill -9 under load, and the time until the server is ready again.

Servers and load are processes of their own on one machine: the load's share of it is part of every
figure. Results go to benchmarks/results/serving_<device>.json.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.timing import ROOT, machine, write_result

PARTS = ("rates", "json", "overload", "memory", "restart")
CLIENTS = (1, 4, 16, 64)
PORT = 8750
MODELS = {  # config's flags, path of a request, side of the picture
    "fer": (["--config=configs/fer.py"], "/predict", 48),
    "rat": (["--config=configs/rat.py"], "/predict", 50),
    "unet": (["--config=configs/unet.py", "--config.model.encoder.weights="], "/inference", 256),
}
SMALL = ["train=64", "val=16", "test=16"]


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        result = {"machine": machine(), "load_before": os.getloadavg(), "seconds": options.seconds}
        for name in options.models.split(","):
            workdir = getattr(options, name) or train(name, Path(folder))
            body = write_body(name, Path(folder))
            result[name] = measure(name, workdir, body, options)
            write_result(options.output, {**result, "load_after": os.getloadavg()})


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in MODELS:
        parser.add_argument(f"--{name}", default="", help="a workdir; '': one of its own")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seconds", type=float, default=3.0, help="of one turn")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--requests", type=int, default=10_000, help="of the overload")
    parser.add_argument("--many", type=int, default=100_000, help="of the part memory")
    parser.add_argument("--output", default="benchmarks/results/serving_cpu.json")
    return parser.parse_args()


def train(name: str, folder: Path) -> str:
    """A workdir of a few steps: how fast a model is does not depend on what it has learned."""
    workdir = folder / name
    sizes = [f"--config.data.synthetic_examples.{size}" for size in SMALL]
    flags = [*MODELS[name][0], *sizes, "--config.train.steps=2", "--config.batch_size=8"]
    subprocess.run(
        [sys.executable, "main.py", *flags, f"--workdir={workdir}"], cwd=ROOT, check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return str(workdir)


def write_body(name: str, folder: Path) -> str:
    """The body of a request, as a file: noise, smoothed so that it compresses as photos do."""
    side = MODELS[name][2]
    small = np.random.default_rng(0).integers(0, 256, (side // 8 + 1, side // 8 + 1, 3), np.uint8)
    picture = Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)
    if MODELS[name][1] == "/inference":
        path = folder / f"{name}.json"
        path.write_text(json.dumps({"image": np.asarray(picture).tolist()}))
    else:
        path = folder / f"{name}.jpg"
        picture.save(path, quality=90)
    return str(path)


def measure(name: str, workdir: str, body: str, options: argparse.Namespace) -> dict:
    """All parts that are asked for, of one model."""
    parts, path = options.parts.split(","), MODELS[name][1]
    result = {}
    served = start(serve_command(workdir), PORT)
    try:
        if "rates" in parts:
            flask = ["-m", "benchmarks.serving_flask", f"--workdir={workdir}", f"--port={PORT + 1}"]
            published = start(flask, PORT + 1)
            try:
                result["rates"] = rates(path, body, options)
            finally:
                end(published)
        if "json" in parts and path == "/inference":
            result["json"] = added_time(body, options)
        if "overload" in parts:
            result["overload"] = overload(path, body, options)
        if "memory" in parts and path == "/predict":
            result["memory"] = memory(served, path, body, options)
        if "restart" in parts:
            result["restart"], served = restart(served, workdir, path, body)
    finally:
        code = end(served)
    result["exit_code"] = code
    return result


def serve_command(workdir: str) -> list[str]:
    return ["main.py", "--mode=serve", f"--workdir={workdir}", f"--port={PORT}"]


def start(arguments: list[str], port: int) -> subprocess.Popen:
    """A server that is ready."""
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return process
        except OSError:  # not listening yet, or not ready
            time.sleep(0.05)
    raise RuntimeError(f"{' '.join(arguments)} ended with code {process.returncode}")


def end(process: subprocess.Popen) -> int:
    process.terminate()
    try:
        return process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def load(port: int, path: str, body: str, **how) -> dict:
    """What a process of load tells; see `serving_load`."""
    options = json.dumps({"port": port, "path": path, "body": body, **how})
    command = [sys.executable, "-m", "benchmarks.serving_load", options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def rates(path: str, body: str, options: argparse.Namespace) -> list[dict]:
    """Both servers at each number of clients, in turn."""
    told = []
    for clients in CLIENTS:
        rounds = {"serve": [], "flask": []}
        for port in (PORT, PORT + 1):
            load(port, path, body, clients=clients, seconds=options.seconds / 3)
        for _ in range(options.rounds):
            for name, port in (("serve", PORT), ("flask", PORT + 1)):
                answer = load(port, path, body, clients=clients, seconds=options.seconds)
                rounds[name].append(answer)
        row = {"clients": clients, "load": os.getloadavg()[0]}
        for name, answers in rounds.items():
            row[name] = {
                key: float(np.median([answer[key] for answer in answers]))
                for key in ("a_second", "p50_ms", "p99_ms")
            }
            row[name]["statuses"] = [answer["statuses"] for answer in answers]
        row["ratio"] = row["serve"]["a_second"] / row["flask"]["a_second"]
        told.append(row)
        serve, flask = row["serve"], row["flask"]
        print(
            f"{path} {clients:3d} clients: serve {serve['a_second']:7.1f}/s p50 "
            f"{serve['p50_ms']:.1f} p99 {serve['p99_ms']:.1f} ms | flask {flask['a_second']:7.1f}/s"
            f" p50 {flask['p50_ms']:.1f} p99 {flask['p99_ms']:.1f} ms | ratio {row['ratio']:.2f}",
            flush=True,
        )
    return told


def added_time(body: str, options: argparse.Namespace) -> dict:
    """One client's time for a request less the model's own time, which the server measures."""

    def model_seconds() -> tuple[float, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics") as answer:
            lines = [
                line
                for line in answer.read().decode().splitlines()
                if line.startswith("jaxvision_batch_seconds_")
            ]
        values = {line.split("{")[0]: float(line.split()[-1]) for line in lines}
        return values["jaxvision_batch_seconds_sum"], values["jaxvision_batch_seconds_count"]

    load(PORT, "/inference", body, clients=1, seconds=1.0)
    before = model_seconds()
    answer = load(PORT, "/inference", body, clients=1, seconds=options.seconds)
    after = model_seconds()
    model = (after[0] - before[0]) / (after[1] - before[1]) * 1e3
    mean = answer["seconds"] / answer["requests"] * 1e3
    told = {"request_ms": mean, "model_ms": model, "added_ms": mean - model}
    print("json", {name: round(value, 2) for name, value in told.items()}, flush=True)
    return told


def overload(path: str, body: str, options: argparse.Namespace) -> dict:
    """Requests at twice the rate that the server can do."""
    capacity = load(PORT, path, body, clients=16, seconds=options.seconds)["a_second"]
    count = int(min(options.requests, 60 * 2 * capacity))  # a minute of it at most
    answer = load(PORT, path, body, rate=2 * capacity, count=count)
    print(f"overload at {2 * capacity:.0f}/s:", answer, flush=True)
    return {"capacity": capacity, **answer}


def memory(process: subprocess.Popen, path: str, body: str, options: argparse.Namespace) -> dict:
    """The server's memory, MiB, at the start and after each tenth of many requests."""
    sizes = [resident(process.pid)]
    for _ in range(10):
        load(PORT, path, body, clients=32, count=options.many // 10)
        sizes.append(resident(process.pid))
    print(f"memory over {options.many} requests, MiB:", sizes, flush=True)
    return {"requests": options.many, "mib": sizes}


def resident(pid: int) -> float:
    """Resident memory of a process, MiB; nan where there is no /proc."""
    status = Path(f"/proc/{pid}/status")
    for line in status.read_text().splitlines() if status.exists() else []:
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 1)
    return float("nan")


def restart(process: subprocess.Popen, workdir: str, path: str, body: str) -> tuple[dict, object]:
    """Kills the server under load, starts it again; the time until it is ready."""
    loader = threading.Thread(
        target=lambda: load(PORT, path, body, clients=16, seconds=2.0), daemon=True
    )
    loader.start()
    time.sleep(1.0)
    process.send_signal(signal.SIGKILL)
    process.wait()
    loader.join()
    begun = time.perf_counter()
    process = start(serve_command(workdir), PORT)
    seconds = time.perf_counter() - begun
    print(f"ready {seconds:.1f} s after kill -9", flush=True)
    return {"ready_seconds": seconds, "load": os.getloadavg()[0]}, process


if __name__ == "__main__":
    main()
