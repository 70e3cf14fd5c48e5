"""A small web app."""

import platform

from flask import Flask

app = Flask(__name__)


@app.get("/")
def index():
    return f"Hello from Python {platform.python_version()}\n"


@app.get("/healthz")
def healthz():
    return "ok\n"
