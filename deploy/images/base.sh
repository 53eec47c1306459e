#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
#
# base.sh [TAG]: makes a base image without an image registry: Debian bookworm with its Python 3.11, by debootstrap and
# `docker import`. Needs root. Elsewhere: make images BASE_IMAGE=python:3.11-slim, which is the Dockerfile's default.
set -euo pipefail

tag=${1:-localhost/dragoman-base:bookworm}
[ "$(id -u)" = 0 ] || { echo "base.sh: debootstrap takes root" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "base.sh: install debootstrap first" >&2; exit 1; }

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
nice -n 19 debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$root" >"$root.log" 2>&1 ||
    { tail -n 5 "$root.log" >&2; rm -f "$root.log"; exit 1; }
rm -f "$root.log"
# What no service reads: lists and archives of packages, manuals, translations.
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/usr/share/{doc,man,info,locale,lintian}/*
# The place of the machine that built it is none of the image's business.
: >"$root/etc/resolv.conf"
: >"$root/etc/hostname"
tar --numeric-owner -C "$root" -c . | docker import --change 'CMD ["python3"]' - "$tag" >/dev/null
docker image inspect --format '{{.Size}}' "$tag" | awk -v tag="$tag" '{printf "%s %.0f MB\n", tag, $1 / 1e6}'
