#!/usr/bin/env python3
"""Train the byte-level BPE tokenizer of 512 entries.

    python train_tokenizer.py TRAIN_TXT OUT_DIR

writes tokenizer.json and tokenizer_config.json. All 256 bytes are entries, so
any text can be encoded and <unk> never occurs; the other 253 are merges.
"""
import argparse
import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

SEPARATOR = "<|endoftext|>"


def main():
    ap = argparse.ArgumentParser(description="Train the tokenizer.")
    ap.add_argument("train_txt", type=Path)
    ap.add_argument("out_dir", type=Path)
    args = ap.parse_args()

    stories = [s.strip() for s in args.train_txt.read_text(encoding="utf-8").split(SEPARATOR)]
    tok = Tokenizer(models.BPE(unk_token="<unk>"))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512, special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tok.train_from_iterator([s for s in stories if s], trainer)
    tok.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tok.token_to_id("<s>"))])
    assert tok.get_vocab_size() == 512
    assert [tok.token_to_id(t) for t in ("<unk>", "<s>", "</s>")] == [0, 1, 2]

    args.out_dir.mkdir(parents=True, exist_ok=True)
    tok.save(str(args.out_dir / "tokenizer.json"))
    (args.out_dir / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "model_max_length": 256,
        "clean_up_tokenization_spaces": False,
        "add_bos_token": True,
        "add_eos_token": False,
    }, indent=2) + "\n")
    sample = stories[0]
    ids = tok.encode(sample).ids
    assert tok.decode(ids) == sample, "decoding must give the text back"
    print(f"512 entries; first story: {len(sample)} characters, {len(ids)} tokens with <s>")


if __name__ == "__main__":
    main()
