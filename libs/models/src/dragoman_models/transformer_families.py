# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""The families of Hugging Face encoders that the ``transformer`` architecture computes, as a table.

Owns how each family spells its config.json and its tensors, and which of our switches it sets. A class that is not
named here cannot be imported. Facts from the published configurations and checkpoints; no code of theirs runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

_BERT_SIZES: Mapping[str, str] = {
    "vocabulary_size": "vocab_size",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "max_positions": "max_position_embeddings",
}
_EMBEDDINGS: Mapping[str, str] = {
    "embeddings.tokens": "embeddings.word_embeddings.weight",
    "embeddings.positions": "embeddings.position_embeddings.weight",
    "embeddings.token_type": "embeddings.token_type_embeddings.weight",
    "embeddings.norm": "embeddings.LayerNorm",
}
_BERT_LAYER: Mapping[str, str] = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "mix": "attention.output.dense",
    "mix_norm": "attention.output.LayerNorm",
    "widen": "intermediate.dense",
    "narrow": "output.dense",
    "narrow_norm": "output.LayerNorm",
}
_POOLED_HEAD: Mapping[str, str] = {"head.dense": "{prefix}pooler.dense", "head.output": "classifier"}
_OWN_HEAD: Mapping[str, str] = {"head.dense": "classifier.dense", "head.output": "classifier.out_proj"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """One family.

    Attributes:
        model_type: As config.json says it.
        classifier: The class of its text classifiers, as ``architectures`` of config.json says it.
        encoder: The class of its bare encoder.
        prefix: What the names of the encoder's tensors begin with in a classifier's file.
        sizes: Our size -> its key in config.json.
        activation_key: The key of config.json that names the activation.
        layer_norm_eps: None where config.json says it.
        embedding_size_key: Where the embeddings may be narrower than the encoder.
        always_projects: The map from the embeddings to the encoder is there even where the sizes are equal.
        first_position: Row of the position table that the first token takes; None for pad_token_id + 1.
        body: Our tensor or module -> its, below the prefix.
        layer_prefix: Its name of layer {number}, below the prefix.
        layer: Our module -> its, below the layer.
        head: Our module -> its.
        has_token_type, shares_layers, head_activation: See TransformerHyperparameters.
        relative_buckets_key: The key of config.json with the number of buckets of relative distance.
        fixed: Further keys of config.json -> the only value that we compute.
        ignored: Further keys of config.json that say nothing about scores.
    """

    model_type: str
    classifier: str
    encoder: str
    prefix: str
    sizes: Mapping[str, str] = field(default_factory=lambda: _BERT_SIZES)
    activation_key: str = "hidden_act"
    layer_norm_eps: float | None = None
    embedding_size_key: str = ""
    always_projects: bool = False
    first_position: int | None = 0
    body: Mapping[str, str] = field(default_factory=lambda: _EMBEDDINGS)
    layer_prefix: str = "encoder.layer.{number}."
    layer: Mapping[str, str] = field(default_factory=lambda: _BERT_LAYER)
    head: Mapping[str, str]
    has_token_type: bool = True
    shares_layers: bool = False
    head_activation: str = "tanh"
    relative_buckets_key: str = ""
    fixed: Mapping[str, object] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()


FAMILIES: tuple[Family, ...] = (
    Family(
        model_type="bert",
        classifier="BertForSequenceClassification",
        encoder="BertModel",
        prefix="bert.",
        head=_POOLED_HEAD,
        # Written by the authors of the multilingual checkpoints; read by nobody.
        ignored=frozenset(
            {
                "directionality",
                "pooler_fc_size",
                "pooler_num_attention_heads",
                "pooler_num_fc_layers",
                "pooler_size_per_head",
                "pooler_type",
            }
        ),
    ),
    Family(
        model_type="roberta",
        classifier="RobertaForSequenceClassification",
        encoder="RobertaModel",
        prefix="roberta.",
        first_position=None,
        head=_OWN_HEAD,
    ),
    Family(
        model_type="xlm-roberta",
        classifier="XLMRobertaForSequenceClassification",
        encoder="XLMRobertaModel",
        prefix="roberta.",
        first_position=None,
        head=_OWN_HEAD,
    ),
    Family(
        model_type="electra",
        classifier="ElectraForSequenceClassification",
        encoder="ElectraModel",
        prefix="electra.",
        embedding_size_key="embedding_size",
        body={**_EMBEDDINGS, "embeddings.projection": "embeddings_project"},
        head=_OWN_HEAD,
        head_activation="gelu",
        ignored=frozenset({"summary_activation", "summary_last_dropout", "summary_type", "summary_use_proj"}),
    ),
    Family(
        model_type="distilbert",
        classifier="DistilBertForSequenceClassification",
        encoder="DistilBertModel",
        prefix="distilbert.",
        sizes={
            "vocabulary_size": "vocab_size",
            "hidden_size": "dim",
            "intermediate_size": "hidden_dim",
            "num_layers": "n_layers",
            "num_heads": "n_heads",
            "max_positions": "max_position_embeddings",
        },
        activation_key="activation",
        layer_norm_eps=1e-12,
        body={ours: theirs for ours, theirs in _EMBEDDINGS.items() if ours != "embeddings.token_type"},
        layer_prefix="transformer.layer.{number}.",
        layer={
            "query": "attention.q_lin",
            "key": "attention.k_lin",
            "value": "attention.v_lin",
            "mix": "attention.out_lin",
            "mix_norm": "sa_layer_norm",
            "widen": "ffn.lin1",
            "narrow": "ffn.lin2",
            "narrow_norm": "output_layer_norm",
        },
        head={"head.dense": "pre_classifier", "head.output": "classifier"},
        has_token_type=False,
        head_activation="relu",
        # The table of positions is stored however it was made.
        ignored=frozenset(
            {
                "attention_dropout",
                "dropout",
                "qa_dropout",
                "seq_classif_dropout",
                "sinusoidal_pos_embds",
                "tie_weights_",
            }
        ),
    ),
    Family(
        model_type="albert",
        classifier="AlbertForSequenceClassification",
        encoder="AlbertModel",
        prefix="albert.",
        embedding_size_key="embedding_size",
        always_projects=True,
        body={**_EMBEDDINGS, "embeddings.projection": "encoder.embedding_hidden_mapping_in"},
        layer_prefix="encoder.albert_layer_groups.0.albert_layers.0.",
        layer={
            "query": "attention.query",
            "key": "attention.key",
            "value": "attention.value",
            "mix": "attention.dense",
            "mix_norm": "attention.LayerNorm",
            "widen": "ffn",
            "narrow": "ffn_output",
            "narrow_norm": "full_layer_layer_norm",
        },
        head={"head.dense": "{prefix}pooler", "head.output": "classifier"},
        shares_layers=True,
        fixed={"num_hidden_groups": 1, "inner_group_num": 1, "net_structure_type": 0},
        ignored=frozenset({"classifier_dropout_prob", "gap_size", "num_memory_blocks", "down_scale_factor"}),
    ),
    Family(
        model_type="mpnet",
        classifier="MPNetForSequenceClassification",
        encoder="MPNetModel",
        prefix="mpnet.",
        # Its code has the padding's position written into it, whatever pad_token_id says.
        first_position=2,
        body={
            **{ours: theirs for ours, theirs in _EMBEDDINGS.items() if ours != "embeddings.token_type"},
            "relative_bias": "encoder.relative_attention_bias.weight",
        },
        layer={
            "query": "attention.attn.q",
            "key": "attention.attn.k",
            "value": "attention.attn.v",
            "mix": "attention.attn.o",
            "mix_norm": "attention.LayerNorm",
            "widen": "intermediate.dense",
            "narrow": "output.dense",
            "narrow_norm": "output.LayerNorm",
        },
        head=_OWN_HEAD,
        has_token_type=False,
        relative_buckets_key="relative_attention_num_buckets",
        # Its code computes with 32 buckets whatever the table's size.
        fixed={"relative_attention_num_buckets": 32},
    ),
)
