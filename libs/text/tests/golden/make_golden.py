# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Writes basic_english.json beside this file: what the real torchtext answers for our own sentences.

torchtext's last release needs torch 2.3, so this script runs in an environment of its own and imports nothing of ours:

    python3.11 -m venv /tmp/torchtext
    /tmp/torchtext/bin/pip install torch==2.3.1 torchtext==0.18.0 torchdata==0.7.1 "numpy<2" portalocker
    /tmp/torchtext/bin/python libs/text/tests/golden/make_golden.py
"""

import json
import random
from pathlib import Path

import torch
import torchtext

torchtext.disable_torchtext_deprecation_warning()

from torchtext.data.utils import get_tokenizer  # noqa: E402 -- the warning must be off before the import
from torchtext.vocab import build_vocab_from_iterator  # noqa: E402

SEED = 20240601
SENTENCES = [
    "",
    " ",
    "\t\r\n",
    "Ships carry grain.",
    "SHIPS, barges (and rafts) carry: grain; wheat; rye!",
    "Isn't it the miller's? It's the millers' own.",
    "''",
    '"Quoted," she said, "and "nested" quotes."',
    '"""',
    "He left at 3.30 p.m. with 1,200.50 dollars...",
    "First line.<br />Second line.<br /><br />Fourth",
    "<br/> <BR /> <br  /> < br /> <br />",
    'a tag with a quote inside <b"r /> or <br "/>',
    "nested <br<br /> /> tag and <br;/> tag",
    "what?!?! no!!! (really)?",
    "dash-words and under_scores, e-mail me@example.org / http://example.org:80/a?b=c",
    "curly \u201cquotes\u201d and \u2018single\u2019 ones \u2014 with dashes\u2026",
    "na\u00efve caf\u00e9 \u00dcBER STRASSE stra\u00dfe",
    "\u0130stanbul I\u0307 \u0131 D\u0130\u015eL\u0130",
    "\u039f\u0394\u039f\u03a3 \u03a3\u0399\u03a3\u03a5\u03a6\u039f\u03a3. \u03a3",
    "\u65e5\u672c\u8a9e\u306e\u6587\u7ae0\u3002 \u4e2d\u6587\uff0c\u6807\u70b9\uff01",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645\u061f",
    "emoji \U0001f6a2\U0001f33e and \U0001d400\U0001d401 bold",
    "combining e\u0301 and a\u0308 marks",
    "nbsp\u00a0between and\u2003em\u3000ideographic\u200bzero",
    "controls\x00null \x01one\x07bell\x08back \x1bescape\x7fdel",
    "separators\x1cfile\x1dgroup\x1erecord\x1funit\x0bvt\x0cff\x85nel\u2028ls\u2029ps",
    "<pad> <unk> [CLS] <s> </s>",
    "back\\slash 'tick` [square] {curly} *star* #hash @at %pct &amp; $5 ~ ^ | = +",
    ". , ( ) ! ? ; : ' \"",
    "word" * 50,
    "\ufeffbyte order mark",
]
CORPUS_WORDS = [
    "the",
    "The",
    "grain",
    "ship",
    "mill",
    "river",
    "rye",
    "port",
    "zeal",
    "\u00e9t\u00e9",
    "\U0001f33e",
    "<unk>",
    "<pad>",
    "a.b",
    "don't",
]
VOCABULARIES = [
    {"min_freq": 1, "max_tokens": None, "specials": []},
    {"min_freq": 1, "max_tokens": None, "specials": ["<pad>", "<unk>"]},
    {"min_freq": 2, "max_tokens": None, "specials": ["<pad>", "<unk>"]},
    {"min_freq": 5, "max_tokens": None, "specials": ["<pad>", "<unk>"]},
    {"min_freq": 1, "max_tokens": 3, "specials": ["<pad>", "<unk>"]},
    {"min_freq": 1, "max_tokens": 8, "specials": ["<pad>", "<unk>"]},
    {"min_freq": 3, "max_tokens": 12, "specials": ["<pad>", "<unk>"]},
    {"min_freq": 1, "max_tokens": 10, "specials": ["<unk>"]},
    {"min_freq": 1, "max_tokens": 25, "specials": ["<unk>", "<pad>", "<bos>", "<eos>"]},
    {"min_freq": 1000, "max_tokens": None, "specials": ["<pad>", "<unk>"]},
]


def corpus() -> list[str]:
    """Rows of skewed random words plus the sentences above: ties and rare words on purpose."""
    source = random.Random(SEED)
    weights = [1 / (rank + 1) for rank in range(len(CORPUS_WORDS))]
    rows = [" ".join(source.choices(CORPUS_WORDS, weights, k=source.randint(0, 12))) for _ in range(60)]
    return rows + SENTENCES


def main() -> None:
    """Ask torchtext and write the answers."""
    tokenizer = get_tokenizer("basic_english")
    rows = corpus()
    vocabularies = []
    for settings in VOCABULARIES:
        vocabulary = build_vocab_from_iterator((tokenizer(row) for row in rows), special_first=True, **settings)
        lookups = None
        if "<unk>" in settings["specials"]:
            vocabulary.set_default_index(vocabulary["<unk>"])
            lookups = [vocabulary(tokenizer(row)) for row in rows[::7]]
        vocabularies.append({**settings, "tokens": vocabulary.get_itos(), "lookups": lookups})
    golden = {
        "made_by": {"torchtext": torchtext.__version__, "torch": torch.__version__},
        "sentences": [{"text": text, "tokens": tokenizer(text)} for text in SENTENCES],
        "corpus": rows,
        "vocabularies": vocabularies,
    }
    path = Path(__file__).with_name("basic_english.json")
    path.write_text(json.dumps(golden, ensure_ascii=True, indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
