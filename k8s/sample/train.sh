# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
#
# A data set into the store, a training job of it, and the alias that lets its version answer. Repeating it changes nothing.
set -eu
mkdir -p /tmp/urgency
cp /etc/dragoman/sample/train.csv /etc/dragoman/sample/test.csv /tmp/urgency/
dragoman data put urgency /tmp/urgency
dragoman train /etc/dragoman/sample/recipe.yaml --model urgency --request-id urgency-1
dragoman alias urgency prod 1 --reason "the first version"
