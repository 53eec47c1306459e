# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
#
# What evaluation.sample runs, once everything answers: data, training, alias, 20 texts whose labels are known. Repeating it
# changes nothing: the data set is there, the request id names the same job, the alias stands.
set -eu
cd /etc/dragoman/sample

step() { echo "$(date -u +%T) $*"; }

step "waiting for the registry, the launcher and the gateway"
until dragoman models >/dev/null 2>&1 && dragoman jobs >/dev/null 2>&1; do sleep 1; done

step "putting the data set into the store"
mkdir -p /tmp/sample
cp train.csv test.csv /tmp/sample/
dragoman data put sample /tmp/sample

step "training"
tries=0
until dragoman train recipe.yaml --model sample --request-id sample-1; do
    # The same request is the same job: following it again starts nothing.
    tries=$((tries + 1))
    [ "$tries" -lt 20 ] || exit 1
    sleep 2
done

step "letting version 1 answer"
dragoman alias sample prod 1 --reason "the sample's first version"

step "asking 20 texts whose labels are known"
sh ask.sh
