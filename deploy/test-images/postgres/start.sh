#!/bin/sh
# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
#
# Makes the data on the first start, and serves it. Everybody is asked for the password.
set -eu
data=/data/postgres
if [ ! -s "$data/PG_VERSION" ]; then
    umask 077
    printf %s "${POSTGRES_PASSWORD:?must be set}" >/tmp/password
    initdb --pgdata="$data" --username="${POSTGRES_USER:-postgres}" --pwfile=/tmp/password --auth=scram-sha-256 \
        --encoding=UTF8 --no-locale --no-sync >&2
    : >/tmp/password
    # As the official image does: the user's own database, or the one that is named.
    database=${POSTGRES_DB:-${POSTGRES_USER:-postgres}}
    if [ "$database" != postgres ]; then
        printf 'CREATE DATABASE "%s"\n' "$database" | postgres --single -D "$data" postgres >&2
    fi
    printf 'host all all all scram-sha-256\n' >>"$data/pg_hba.conf"
fi
unset POSTGRES_PASSWORD
exec postgres -D "$data" -c listen_addresses='*' -c unix_socket_directories= "$@"
