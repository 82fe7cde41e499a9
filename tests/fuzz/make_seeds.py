#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seeds in tests/fuzz/corpus that are files of a format: models of a kilobyte or two, one of each
architecture, small vocabularies, and the chat templates of tests/data/model/chat.jsonl. Run by hand when a format changes.
"""
import json
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
CORPUS = os.path.join(HERE, "corpus")
TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ '[INST] ' + m['content'] | trim }}{% endfor %}"
SPACE = "\u2581"


def write(target, name, data):
    folder = os.path.join(CORPUS, target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as out:
        out.write(data)


# ---- models ----


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key, value):
    head = text(key)
    if isinstance(value, str):
        return head + struct.pack("<I", 8) + text(value)
    if isinstance(value, bool):
        return head + struct.pack("<IB", 7, value)
    if isinstance(value, int):
        return head + struct.pack("<II", 4, value)
    if isinstance(value, float):
        return head + struct.pack("<If", 6, value)
    kind, pack = {str: (8, text), int: (5, struct.Struct("<i").pack), float: (6, struct.Struct("<f").pack)}[
        type(value[0])]
    return head + struct.pack("<IIQ", 9, kind, len(value)) + b"".join(map(pack, value))


def bpe():
    tokens = ["a", "b", "ab", "\u0120", "\u0120ab", "<|im_end|>"]
    return tokens, {"model": "gpt2", "pre": "qwen2", "token_type": [1, 1, 1, 1, 1, 3],
                    "merges": ["a b", "\u0120 ab"], "eos_token_id": 5}


def spm():
    tokens = ["<unk>", "<s>", SPACE, "a", "b", "ab", SPACE + "ab", "<0x0A>"]
    return tokens, {"model": "llama", "token_type": [2, 3, 1, 1, 1, 1, 1, 6], "bos_token_id": 1,
                    "scores": [0.0, 0.0, -3.0, -4.0, -5.0, -1.0, -2.0, 0.0], "add_space_prefix": True}


def shapes(arch, vocab, hidden, heads, kv, dim, ffn, experts):
    yield "token_embd.weight", (hidden, vocab)
    yield "output_norm.weight", (hidden,)
    names = {"attn_norm": (hidden,), "attn_q": (hidden, heads * dim), "attn_k": (hidden, kv * dim),
             "attn_v": (hidden, kv * dim), "attn_output": (heads * dim, hidden), "ffn_norm": (hidden,)}
    if arch in ("qwen3", "qwen3moe", "gemma3"):
        names.update(attn_q_norm=(dim,), attn_k_norm=(dim,))
    if arch == "gemma3":
        names.update(post_attention_norm=(hidden,), post_ffw_norm=(hidden,))
    if experts:
        names.update(ffn_gate_inp=(hidden, experts), ffn_gate_exps=(hidden, ffn, experts),
                     ffn_up_exps=(hidden, ffn, experts), ffn_down_exps=(ffn, hidden, experts))
    else:
        names.update(ffn_gate=(hidden, ffn), ffn_up=(hidden, ffn), ffn_down=(ffn, hidden))
    for name, shape in names.items():
        yield f"blk.0.{name}.weight", shape
    if arch == "qwen2":
        for name, width in (("q", heads * dim), ("k", kv * dim), ("v", kv * dim)):
            yield f"blk.0.attn_{name}.bias", (width,)


def model(arch, vocabulary, experts=0):
    tokens, rest = vocabulary
    hidden, heads, kv, dim, ffn = 4, 2, 1, 2, 4
    fields = {"general.architecture": arch, "general.name": "seed", f"{arch}.block_count": 1,
              f"{arch}.context_length": 64, f"{arch}.embedding_length": hidden,
              f"{arch}.attention.head_count": heads, f"{arch}.attention.head_count_kv": kv,
              f"{arch}.attention.key_length": dim, f"{arch}.attention.value_length": dim,
              f"{arch}.feed_forward_length": ffn, f"{arch}.attention.layer_norm_rms_epsilon": 1e-5,
              f"{arch}.rope.freq_base": 10000.0}
    if experts:
        fields.update({f"{arch}.expert_count": experts, f"{arch}.expert_used_count": 1})
    if arch == "qwen3moe":
        fields[f"{arch}.expert_feed_forward_length"] = ffn
    if arch == "gemma3":
        fields[f"{arch}.attention.sliding_window"] = 8
    fields["tokenizer.ggml.tokens"] = tokens
    fields.update({f"tokenizer.ggml.{key}": value for key, value in rest.items()})
    fields["tokenizer.chat_template"] = TEMPLATE
    table, data, count = b"", b"", 0
    for name, shape in shapes(arch, len(tokens), hidden, heads, kv, dim, ffn, experts):
        values = 1
        for axis in shape:
            values *= axis
        table += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape) + struct.pack("<IQ", 0, len(data))
        data += struct.pack(f"<{values}f", *(0.25 * (i % 7 - 3) for i in range(values)))
        data += bytes(-len(data) % 32)
        count += 1
    head = b"GGUF" + struct.pack("<IQQ", 3, count, len(fields))
    head += b"".join(entry(key, value) for key, value in fields.items()) + table
    return head + bytes(-len(head) % 32) + data


def write_models():
    write("gguf", "llama", model("llama", bpe()))
    write("gguf", "llama-spm", model("llama", spm()))
    write("gguf", "mixtral", model("llama", bpe(), 2))
    for arch in ("qwen2", "qwen3", "gemma3"):
        write("gguf", arch, model(arch, bpe()))
    write("gguf", "qwen3moe", model("qwen3moe", bpe(), 2))


# ---- vocabularies, as fuzz_vocabulary.c reads them ----


def vocabulary(flags, tokens, merges, written):
    data = bytes([flags, len(tokens) - 1])
    for kind, score, token in tokens:
        token = token.encode()
        head = next(head for head in range(len(token) * 16, len(token) * 16 + 16) if head % 6 == kind - 1)
        data += bytes([head, score]) + token
    if not flags & 1:
        data += bytes([len(merges)])
        for left, right in merges:
            left, right = left.encode(), right.encode()
            data += bytes([len(right) * 16 + len(left)]) + left + right
    return data + written.encode()


def write_vocabularies():
    letters = [(1, 0, letter) for letter in "the ab".replace(" ", "\u0120")]
    pairs = [(1, 0, "th"), (1, 0, "the"), (3, 0, "<s>"), (4, 0, "ab")]
    write("vocabulary", "bpe", vocabulary(0x22, letters + pairs, [("t", "h"), ("th", "e")], "the <s>tab the"))
    spaces = [(1, 1, SPACE), (1, 2, SPACE + "t"), (1, 5, "th"), (1, 4, "he"), (1, 3, "the"), (6, 0, "<0x61>")]
    write("vocabulary", "spm", vocabulary(5, letters[:3] + spaces, [], "the the thhe a"))
    odd = [(2, 0, "<unk>"), (5, 7, "th"), (4, 0, SPACE + SPACE), (1, 6, "the"), (1, 5, "hethe")]
    write("vocabulary", "spm-odd", vocabulary(3, letters[:3] + odd, [], "thethe  hethe x"))


def write_chats():
    with open(os.path.join(HERE, "..", "data", "model", "chat.jsonl"), encoding="utf8") as lines:
        for line in map(json.loads, lines):
            talk = b"\0".join(bytes([("user", "assistant", "system").index(role)]) + content.encode()
                              for role, content in line["cases"][-1]["messages"])
            name = line["name"].replace(" ", "-")
            write("chat", name, line["template"].encode() + b"\0" + talk)


if __name__ == "__main__":
    write_models()
    write_vocabularies()
    write_chats()
