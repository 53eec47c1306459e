# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""What `make up` prints at the end: a token, and how to call the platform that it has left running."""

import shlex

from demo.places import Places

_TEXT = "oil prices rose after the opec meeting"


def example_calls(places: Places, *, grpc_target: str, http_address: str, token: str) -> str:
    """Calls by command, SDK, REST and grpcurl, ready to paste."""
    body = f'{{"inputs": [{{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["{_TEXT}"]}}]}}'
    classify = f'{{"model": {{"model": "r8"}}, "texts": ["{_TEXT}"]}}'
    return f"""
The platform runs: gRPC {grpc_target}, HTTP http://{http_address}. `make down` stops it.

A token for a day (a new one: dragoman token):
  export DRAGOMAN_TOKEN={token}
  export DRAGOMAN_HOME={shlex.quote(str(places.home))}

The command:
  .venv/bin/dragoman predict r8 "{_TEXT}"
  .venv/bin/dragoman report r8

Python:
  import os
  from dragoman_client import Client
  with Client("{grpc_target}", os.environ["DRAGOMAN_TOKEN"]) as client:
      print(client.classify("r8", ["{_TEXT}"]).rows[0].label)

REST (Open Inference Protocol, version 2):
  curl -s http://{http_address}/v2/models/r8/infer -H "authorization: Bearer $DRAGOMAN_TOKEN" \\
    -H 'content-type: application/json' -d '{body}'

grpcurl, by reflection:
  grpcurl -plaintext -H "authorization: Bearer $DRAGOMAN_TOKEN" -d '{classify}' \\
    {grpc_target} dragoman.gateway.v1.GatewayService/Classify
"""
