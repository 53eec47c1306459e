# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Tokenizers and vocabularies, without torch: one object turns text into ids in training and in serving."""

from dragoman_text.basic_english import BasicEnglishTokenizer
from dragoman_text.huggingface import HuggingFaceTokenizer
from dragoman_text.huggingface_training import train_huggingface
from dragoman_text.loading import load_tokenizer
from dragoman_text.tokenizer import Encoding, Tokenizer
from dragoman_text.vocabulary import Vocabulary

__all__ = [
    "BasicEnglishTokenizer",
    "Encoding",
    "HuggingFaceTokenizer",
    "Tokenizer",
    "Vocabulary",
    "load_tokenizer",
    "train_huggingface",
]
