"""Trains the small tokenizers that the text tests run on, one of every kind that Llama checkpoints come with."""

import json

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram
from tokenizers.trainers import BpeTrainer, UnigramTrainer

CORPUS = """
The lighthouse keeper counted 1024 ships before breakfast, and 37 more after it. "Isn't that a lot?" asked the cat.
She'd've gone home, but they're still waiting; we'll see what I'm told, don't you think? It's a quiet harbour.
A small boat came in with the tide, then a second boat, then a third boat, and the keeper wrote their names down.
def add(a, b):\n    return a + b\n\nfor i in range(10):\n        print(i, add(i, 2))\n
Über den Dächern läuft die Straße nach Süden. L'été dernier, nous étions à Évian. El niño comió piñas en la mañana.
Привет, как дела? Сегодня хорошая погода. Γειά σου Κόσμε. שלום עולם. مرحبا بالعالم. नमस्ते दुनिया। สวัสดีชาวโลก
今天天气很好,我们去公园吧。今日はいい天気ですね。公園に行きましょう。오늘은 날씨가 좋네요.
The price is $12.50 (about 11.60 euro), up 3% since 2019; call 555-0199 or write to keeper@lighthouse.example.
one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
the and of to in that it with for was on are as they at be this have from or had by hot but some what there we can out
""".strip().split("\n")

LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def special(content, **flags):
    return AddedToken(content, special=True, normalized=False, **flags)


def bos_template(bos, bos_id):
    return processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos} $B:1", special_tokens=[(bos, bos_id)])


def llama3():
    """Byte-level BPE as Llama 3 has it: its split pattern, ignore_merges, special tokens after the vocabulary."""
    tokenizer = Tokenizer(BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(CORPUS, BpeTrainer(vocab_size=480, initial_alphabet=alphabet, show_progress=False))
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"]
    tokenizer.add_special_tokens([special(name) for name in names])
    bos = bos_template(names[0], tokenizer.token_to_id(names[0]))
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), bos])
    return tokenizer


def smollm():
    """Byte-level BPE as SmolLM has it: single digits, GPT-2's pattern, special tokens at the front, no BOS."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = BpeTrainer(
        vocab_size=420,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[special(name) for name in names],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def sentencepiece_bpe_model():
    """SentencePiece-like BPE: <unk>, <s>, </s>, 256 byte tokens, then pieces over the metaspace."""
    trainee = Tokenizer(BPE())
    trainee.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainee.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=True)
    # The scripts with large alphabets stay out, so that their characters fall back to bytes.
    latin = [line for line in CORPUS if max(map(ord, line), default=0) < 0x500]
    trainee.train_from_iterator(latin, BpeTrainer(vocab_size=380, show_progress=False))
    trained = json.loads(trainee.to_str())["model"]
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    vocab = {name: index for index, name in enumerate(names)}
    for piece in sorted(trained["vocab"], key=trained["vocab"].get):
        vocab.setdefault(piece, len(vocab))
    merges = [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in trained["merges"]]
    # Spaces may run into words that follow, and into each other, as in the published vocabularies.
    for piece in ("▁▁", "▁▁▁▁"):
        half = piece[: len(piece) // 2]
        vocab.setdefault(piece, len(vocab))
        merges.append((half, half))
    return BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)


def llama2():
    """As meta-llama's Llama 2 and TinyLlama save it: Prepend and Replace normalizers, byte fallback, one space stripped."""
    tokenizer = Tokenizer(sentencepiece_bpe_model())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([special(name) for name in ("<unk>", "<s>", "</s>")])
    tokenizer.post_processor = bos_template("<s>", 1)
    return tokenizer


def metaspace():
    """The newer spelling of the same: a Metaspace pre-tokenizer that prefixes only the first word, Metaspace decoder."""
    tokenizer = Tokenizer(sentencepiece_bpe_model())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")])
    tokenizer.add_special_tokens([special(name) for name in ("<unk>", "<s>", "</s>")])
    tokenizer.post_processor = bos_template("<s>", 1)
    return tokenizer


def unigram():
    """SentencePiece unigram with NFKC, Metaspace on both sides, BOS and EOS."""
    tokenizer = Tokenizer(Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    names = ["<unk>", "<s>", "</s>"]
    trainer = UnigramTrainer(
        vocab_size=400, special_tokens=[special(name) for name in names], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return tokenizer


def added_tokens():
    """The Llama 3 one with added tokens of every flag, among them one that is not special and one spelt with spaces."""
    tokenizer = llama3()
    tokenizer.add_tokens(
        [
            AddedToken("<left>", lstrip=True, normalized=False),
            AddedToken("<right>", rstrip=True, normalized=False),
            AddedToken("<both>", lstrip=True, rstrip=True, special=True, normalized=False),
            AddedToken("word", single_word=True, normalized=False),
            AddedToken("two words", normalized=True),
            AddedToken("été", normalized=False),
        ]
    )
    return tokenizer


def padded():
    """The Llama 3 one, saved while it padded, with a token that is not in its vocabulary."""
    tokenizer = llama3()
    tokenizer.enable_padding(pad_token="<|pad|>", pad_id=7)
    return tokenizer


ALL = {
    "llama3": llama3,
    "smollm": smollm,
    "llama2": llama2,
    "metaspace": metaspace,
    "unigram": unigram,
    "added_tokens": added_tokens,
    "padded": padded,
}
