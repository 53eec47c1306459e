# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Where versions came from and what came of them, from their signed manifests. Pure.

A manifest names its parent, its job and its data; nobody checked these when it was published, so a parent may be
missing and parents may form a ring. Every version is visited once.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from dragoman_models.record import VersionManifest

MAX_ENTRIES = 1000

# A version and its distance: negative for ancestors, positive for descendants.
Entry = tuple[VersionManifest, int]


def family(versions: Mapping[int, VersionManifest], number: int) -> list[Entry]:
    """Return a version, its ancestors and its descendants: the nearest MAX_ENTRIES, by distance, then number.

    Args:
        versions: All of the model's.
        number: One of them.
    """
    children: dict[int, list[int]] = defaultdict(list)
    for manifest in versions.values():
        children[manifest.lineage.parent_version].append(manifest.number)
    distances = {number: 0}
    parent, distance = versions[number].lineage.parent_version, -1
    while parent in versions and parent not in distances:
        distances[parent] = distance
        parent, distance = versions[parent].lineage.parent_version, distance - 1
    generation, distance = [number], 1
    while generation:
        generation = [child for item in generation for child in children[item] if child not in distances]
        distances |= dict.fromkeys(generation, distance)
        distance += 1
    nearest = sorted(distances.items(), key=lambda item: (abs(item[1]), item[0]))[:MAX_ENTRIES]
    return [(versions[found], distance) for found, distance in sorted(nearest, key=lambda item: (item[1], item[0]))]


def of_data(versions: Iterable[VersionManifest], data_sha256: str) -> list[Entry]:
    """Return the versions that were trained on these rows, the newest MAX_ENTRIES, newest first."""
    return _newest(manifest for manifest in versions if manifest.lineage.data_sha256 == data_sha256)


def of_job(versions: Iterable[VersionManifest], job_id: str) -> list[Entry]:
    """Return the versions that a job published, the newest MAX_ENTRIES, newest first."""
    return _newest(manifest for manifest in versions if manifest.lineage.job_id == job_id)


def _newest(found: Iterable[VersionManifest]) -> list[Entry]:
    return [(manifest, 0) for manifest in sorted(found, key=lambda item: -item.number)[:MAX_ENTRIES]]
