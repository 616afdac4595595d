/* SPDX-License-Identifier: MIT
 *
 * tokenizer_patterns.h: the regular expressions of pre-tokenizers, and which names use which. Facts of the models'
 * published tokenizer.json files. Included by tokenizer_split.c alone.
 */
#ifndef EXPERTD_MODEL_TOKENIZER_PATTERNS_H
#define EXPERTD_MODEL_TOKENIZER_PATTERNS_H

#define PATTERNS_MAX 6

/* English endings, and runs of line ends and blanks, as most expressions share them. */
#define ENDINGS "'s|'t|'re|'ve|'m|'ll|'d"
#define ENDINGS_ANY_CASE "(?i:" ENDINGS ")"
#define LINES_AND_BLANKS "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CJK_KANA "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+"
#define CJK_HANGUL "[\\x{4E00}-\\x{9FA5}\\x{0800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+"

#define WORDS_GPT2 ENDINGS "| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"
#define WORDS_LLAMA3(digits) \
    ENDINGS_ANY_CASE "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" LINES_AND_BLANKS
#define WORDS_DEEPSEEK3 \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|" \
    " ?[\\p{P}\\p{S}]+[\\r\\n]*|" LINES_AND_BLANKS

/* Words whose case may change once, from upper to lower. */
#define CASED_UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED_LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define WORDS_CASED(ending) \
    "[^\\r\\n\\p{L}\\p{N}]?" CASED_UPPER "*" CASED_LOWER "+" ending \
    "|[^\\r\\n\\p{L}\\p{N}]?" CASED_UPPER "+" CASED_LOWER "*" ending

/* Letters that have case, as DeepSeek's first vocabularies list them. */
#define CASED_LETTERS \
    "A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}\\x{1C4}-\\x{293}" \
    "\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}\\x{37F}\\x{386}\\x{388}-\\x{38A}" \
    "\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}" \
    "\\x{10A0}-\\x{10C5}\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}" \
    "\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}" \
    "\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{1F7D}" \
    "\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}" \
    "\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}" \
    "\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}\\x{212A}-\\x{212D}" \
    "\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}\\x{214E}\\x{2183}\\x{2184}" \
    "\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}" \
    "\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}" \
    "\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}" \
    "\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}" \
    "\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}"

struct patterns {
    const char *regex[PATTERNS_MAX]; /* NULL after the last */
};

static const struct patterns patterns_default = { {
    "[\\p{P}$+<=>^~|]+",
    WORDS_GPT2,
    "\\p{N}+",
    "[0-9][0-9][0-9]",
} };
static const struct patterns patterns_gpt2 = { { WORDS_GPT2 } };
static const struct patterns patterns_starcoder = { { "\\p{N}", WORDS_GPT2 } };
static const struct patterns patterns_falcon = { { "[\\p{P}$+<=>^~|`]+", WORDS_GPT2, "[0-9][0-9][0-9]" } };
static const struct patterns patterns_llama3 = { { WORDS_LLAMA3("\\p{N}{1,3}") } };
static const struct patterns patterns_qwen2 = { { WORDS_LLAMA3("\\p{N}") } };
static const struct patterns patterns_qwen35 = { {
    ENDINGS_ANY_CASE "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|"
    LINES_AND_BLANKS,
} };
/* (?<!\s)\s++\z is \s+$ of the original, told where a run begins and not to look back into it. */
static const struct patterns patterns_deepseek_llm = { {
    "[\\r\\n]",
    "\\s?[" CASED_LETTERS "]+",
    "\\s?[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}]+",
    "(?<!\\s)\\s++\\z",
    CJK_HANGUL,
    "\\p{N}+",
} };
static const struct patterns patterns_deepseek_coder = { {
    "[\\r\\n]",
    "\\s?\\p{L}+",
    "\\s?\\p{P}+",
    CJK_HANGUL,
    "\\p{N}",
} };
static const struct patterns patterns_deepseek3 = { { "\\p{N}{1,3}", CJK_KANA, WORDS_DEEPSEEK3 } };
static const struct patterns patterns_tekken = { {
    WORDS_CASED("") "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" LINES_AND_BLANKS,
} };
static const struct patterns patterns_gpt4o = { {
    WORDS_CASED(ENDINGS_ANY_CASE "?") "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" LINES_AND_BLANKS,
} };
static const struct patterns patterns_bailing = { {
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|"
    "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
} };
static const struct patterns patterns_seed = { {
    ENDINGS_ANY_CASE "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" LINES_AND_BLANKS,
} };
/* Commas and stops of Latin, Chinese, Devanagari and Arabic script. */
#define NO_STOP " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{FF0C}\\x{3001}\\x{0964}\\x{06D4}\\x{060C})]+"
static const struct patterns patterns_bloom = { { NO_STOP } };
static const struct patterns patterns_viking = { { NO_STOP, "\\p{N}" } };

enum { PLAIN = 0, WHOLE_WORDS = 1, WITH_BOS = 2 };

static const struct {
    const char *name;
    const struct patterns *patterns;
    unsigned traits;
} splitters[] = {
    { "default", &patterns_default, PLAIN },
    { "gpt-2", &patterns_gpt2, PLAIN },
    { "gpt-neox", &patterns_gpt2, PLAIN },
    { "phi-2", &patterns_gpt2, PLAIN },
    { "mpt", &patterns_gpt2, PLAIN },
    { "olmo", &patterns_gpt2, PLAIN },
    { "jais", &patterns_gpt2, PLAIN },
    { "trillion", &patterns_gpt2, PLAIN },
    { "granite-docling", &patterns_gpt2, PLAIN },
    { "gigachat", &patterns_gpt2, PLAIN },
    { "exaone4", &patterns_gpt2, PLAIN },
    { "mellum", &patterns_gpt2, PLAIN },
    { "a.x-4.0", &patterns_gpt2, PLAIN },
    { "qwen2", &patterns_qwen2, PLAIN },
    { "deepseek-r1-qwen", &patterns_qwen2, PLAIN },
    { "kormo", &patterns_qwen2, PLAIN },
    { "megrez", &patterns_qwen2, PLAIN },
    { "stablelm2", &patterns_qwen2, PLAIN },
    { "hunyuan", &patterns_qwen2, PLAIN },
    { "solar-open", &patterns_qwen2, PLAIN },
    { "grok-2", &patterns_qwen2, PLAIN },
    { "qwen35", &patterns_qwen35, PLAIN },
    { "llama3", &patterns_llama3, WHOLE_WORDS | WITH_BOS },
    { "llama-v3", &patterns_llama3, WHOLE_WORDS | WITH_BOS },
    { "llama-bpe", &patterns_llama3, WHOLE_WORDS | WITH_BOS },
    { "falcon3", &patterns_llama3, WHOLE_WORDS | WITH_BOS },
    { "falcon-h1", &patterns_llama3, WHOLE_WORDS | WITH_BOS },
    { "pixtral", &patterns_llama3, WHOLE_WORDS | WITH_BOS },
    { "midm-2.0", &patterns_llama3, WHOLE_WORDS | WITH_BOS },
    { "lfm2", &patterns_llama3, WHOLE_WORDS | WITH_BOS },
    { "dbrx", &patterns_llama3, PLAIN },
    { "smaug-bpe", &patterns_llama3, PLAIN },
    { "glm4", &patterns_llama3, PLAIN },
    { "chatglm-bpe", &patterns_llama3, PLAIN },
    { "deepseek-llm", &patterns_deepseek_llm, PLAIN },
    { "deepseek-coder", &patterns_deepseek_coder, PLAIN },
    { "deepseek-v3", &patterns_deepseek3, PLAIN },
    { "hunyuan-dense", &patterns_deepseek3, PLAIN },
    { "joyai-llm", &patterns_deepseek3, PLAIN },
    { "falcon", &patterns_falcon, PLAIN },
    { "starcoder", &patterns_starcoder, PLAIN },
    { "refact", &patterns_starcoder, PLAIN },
    { "command-r", &patterns_starcoder, PLAIN },
    { "smollm", &patterns_starcoder, PLAIN },
    { "codeshell", &patterns_starcoder, PLAIN },
    { "exaone", &patterns_starcoder, PLAIN },
    { "minerva-7b", &patterns_starcoder, PLAIN },
    { "mellum2", &patterns_starcoder, PLAIN },
    { "tekken", &patterns_tekken, WHOLE_WORDS | WITH_BOS },
    { "gpt-4o", &patterns_gpt4o, PLAIN },
    { "llama4", &patterns_gpt4o, PLAIN },
    { "kanana2", &patterns_gpt4o, PLAIN },
    { "minimax-m2", &patterns_gpt4o, PLAIN },
    { "bailingmoe", &patterns_bailing, PLAIN },
    { "bailingmoe2", &patterns_bailing, PLAIN },
    { "llada-moe", &patterns_bailing, PLAIN },
    { "seed-coder", &patterns_seed, PLAIN },
    { "bloom", &patterns_bloom, PLAIN },
    { "gpt3-finnish", &patterns_bloom, PLAIN },
    { "poro-chat", &patterns_bloom, PLAIN },
    { "viking", &patterns_viking, PLAIN },
};

#endif
