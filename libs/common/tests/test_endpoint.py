# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Places: what is one, and what is made of it."""

import pytest

from dragoman_common.endpoint import Endpoint, parse_endpoint


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":9000", "host:0", "host:65536", "host:x", "host:\uff19", "fd00::1:9000"]
)
def test_what_is_no_place_is_refused(text):
    with pytest.raises(ValueError, match=r"host:port|IPv6"):
        parse_endpoint(text)


@pytest.mark.parametrize(
    ("host", "is_fixed"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("workers.ns.svc", False)]
)
def test_only_names_of_other_machines_are_resolved(host, is_fixed):
    assert Endpoint(host=host, port=1).is_fixed is is_fixed


def test_the_dot_that_ends_a_name_is_for_the_name_service_only():
    endpoint = parse_endpoint("workers.ns.svc.cluster.local.:9000")
    assert (endpoint.host[-1], endpoint.server_name) == (".", "workers.ns.svc.cluster.local")


def test_an_ipv6_address_is_written_in_brackets():
    assert parse_endpoint("workers:9000").at("fd00::1") == "[fd00::1]:9000"
