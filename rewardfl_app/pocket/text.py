"""The pocket text encoder: a tiny UMT5 and a tokenizer of whole words (with letters for words it does not know)."""

from __future__ import annotations

from transformers import T5TokenizerFast, UMT5Config, UMT5EncoderModel

from rewardfl_app.pocket import motion
from rewardfl_app.pocket.portrait import HAIR_STYLES

MAX_TOKENS = 24
_WORDS = (
    "a man woman person with and the head hair bun bob bald glasses stubble beard goatee "
    "black dark brown blonde red grey blue pink green purple"
)


def new_tokenizer() -> T5TokenizerFast:
    """Word-piece tokenizer in UMT5's format; any text can be encoded, letter by letter at worst."""
    words = sorted(set(_WORDS.split()) | set(" ".join(motion.ACTIONS).split()) | set(HAIR_STYLES))
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + list("0123456789.,'-")
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -6.0)]
    pieces += [(f"▁{word}", -2.0) for word in words]
    pieces += [(letter, -8.0) for letter in letters]
    return T5TokenizerFast(vocab=pieces, extra_ids=0, model_max_length=MAX_TOKENS)


def new_text_encoder(vocab_size: int) -> UMT5EncoderModel:
    """Untrained encoder of width 64 for `vocab_size` pieces."""
    config = UMT5Config(
        vocab_size=vocab_size,
        d_model=64,
        d_kv=16,
        d_ff=128,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        relative_attention_num_buckets=16,
        relative_attention_max_distance=32,
    )
    return UMT5EncoderModel(config)
