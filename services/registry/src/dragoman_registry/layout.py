# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Where each object lives in the store. Every part is checked by name.check_name or is a digest or a number.

tenants/<t>/blobs/sha256/<hex>                     a file's content
tenants/<t>/condemned/<hex>                        since when nothing referred to a blob; claims-<hex>: to claims
tenants/<t>/resigned/<key id>/models/...           what lies at tenants/<t>/models/..., signed again under another key
tenants/<t>/models/<m>/intents/<publish id>        a publish that was begun
tenants/<t>/models/<m>/by-digest/<root>[.<k>]      the number that this content means to take; .2 ... when lost
tenants/<t>/models/<m>/versions/<n>                the signed version: the commit
tenants/<t>/models/<m>/aliases/<a>/<sequence>      one signed event
tenants/<t>/models/<m>/evidence/<n>/<digest>       one signed document about the version
tenants/<t>/models/<m>/policies/<sequence>         one signed change of the gate policy
tenants/<t>/models/<m>/tombstones/<n>              the signed word that version n is withdrawn
tenants/<t>/models/<m>/heads/<chain>               the signed name of the newest event of aliases/<a> or policies
tenants/<t>/data/<d>/sets/<n>                      a signed data set; its files are blobs
tenants/<t>/data/<d>/intents/<digest>              a put that was begun
tenants/<t>/checkpoints/<job>/content/<hex>        a checkpoint's content
tenants/<t>/checkpoints/<job>/records/<step>       the signed checkpoint: the commit
"""

TENANTS = "tenants"
PROBE = "probe"


def blob(tenant: str, sha256: str) -> str:
    return f"{TENANTS}/{tenant}/blobs/sha256/{sha256}"


def blobs(tenant: str) -> str:
    return f"{TENANTS}/{tenant}/blobs/sha256"


def condemned_blobs(tenant: str) -> str:
    return f"{TENANTS}/{tenant}/condemned"


def condemned_blob(tenant: str, sha256: str) -> str:
    return f"{condemned_blobs(tenant)}/{sha256}"


def resigned(key: str, key_id: str) -> str:
    """Where the object of this key lies, signed again under another key."""
    tenants, tenant, rest = key.split("/", 2)
    return f"{tenants}/{tenant}/resigned/{key_id}/{rest}"


def all_resigned(tenant: str) -> str:
    return f"{TENANTS}/{tenant}/resigned"


def models(tenant: str) -> str:
    return f"{TENANTS}/{tenant}/models"


def model(tenant: str, name: str) -> str:
    return f"{models(tenant)}/{name}"


def intent(tenant: str, model: str, publish_id: str) -> str:
    return f"{models(tenant)}/{model}/intents/{publish_id}"


def intents(tenant: str, model: str) -> str:
    return f"{models(tenant)}/{model}/intents"


def claims(tenant: str, model: str) -> str:
    return f"{models(tenant)}/{model}/by-digest"


def claim(tenant: str, model: str, root_sha256: str, attempt: int) -> str:
    suffix = "" if attempt == 1 else f".{attempt}"
    return f"{claims(tenant, model)}/{root_sha256}{suffix}"


def versions(tenant: str, model: str) -> str:
    return f"{models(tenant)}/{model}/versions"


def version(tenant: str, model: str, number: int) -> str:
    return f"{versions(tenant, model)}/{number}"


def aliases(tenant: str, model: str) -> str:
    return f"{models(tenant)}/{model}/aliases"


def alias(tenant: str, model: str, name: str) -> str:
    return f"{aliases(tenant, model)}/{name}"


def alias_event(tenant: str, model: str, name: str, sequence: int) -> str:
    return f"{alias(tenant, model, name)}/{sequence}"


def evidence(tenant: str, model: str, number: int) -> str:
    return f"{models(tenant)}/{model}/evidence/{number}"


def evidence_record(tenant: str, model: str, number: int, digest: str) -> str:
    return f"{evidence(tenant, model, number)}/{digest}"


def policies(tenant: str, model: str) -> str:
    return f"{models(tenant)}/{model}/policies"


def policy_record(tenant: str, model: str, sequence: int) -> str:
    return f"{policies(tenant, model)}/{sequence}"


def tombstones(tenant: str, model: str) -> str:
    return f"{models(tenant)}/{model}/tombstones"


def tombstone(tenant: str, model: str, number: int) -> str:
    return f"{tombstones(tenant, model)}/{number}"


def heads(tenant: str, model: str) -> str:
    return f"{models(tenant)}/{model}/heads"


def head(tenant: str, model: str, chain: str) -> str:
    """Where the head of a chain lies; the chain is aliases/<a> or policies."""
    return f"{heads(tenant, model)}/{chain}"


def data(tenant: str) -> str:
    return f"{TENANTS}/{tenant}/data"


def data_sets(tenant: str, name: str) -> str:
    return f"{data(tenant)}/{name}/sets"


def data_set(tenant: str, name: str, number: int) -> str:
    return f"{data_sets(tenant, name)}/{number}"


def data_intents(tenant: str, name: str) -> str:
    return f"{data(tenant)}/{name}/intents"


def checkpoints(tenant: str) -> str:
    return f"{TENANTS}/{tenant}/checkpoints"


def checkpoint_records(tenant: str, job_id: str) -> str:
    return f"{checkpoints(tenant)}/{job_id}/records"


def checkpoint_record(tenant: str, job_id: str, step: int) -> str:
    return f"{checkpoint_records(tenant, job_id)}/{step}"


def checkpoint_contents(tenant: str, job_id: str) -> str:
    return f"{checkpoints(tenant)}/{job_id}/content"


def checkpoint_content(tenant: str, job_id: str, sha256: str) -> str:
    return f"{checkpoint_contents(tenant, job_id)}/{sha256}"
