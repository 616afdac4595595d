/* SPDX-License-Identifier: MIT */
#include "model/chat_format.h"

#include <string.h>

#define CHATML_TURNS .head = "<|im_start|>", .after_role = "\n", .foot = "<|im_end|>\n"
#define CHATML CHATML_TURNS, .answer = "<|im_start|>assistant\n"
#define LLAMA3                                                                                  \
    .head = "<|start_header_id|>", .after_role = "<|end_header_id|>\n\n", .foot = "<|eot_id|>", \
    .answer = "<|start_header_id|>assistant<|end_header_id|>\n\n"
#define BARS .head = "<|", .after_role = "|>\n", .answer = "<|assistant|>\n"

/* In templates a newline inside a string is written as backslash and n. */
/* clang-format off */
static const struct chat_row rows[CHAT_FORMATS] = {
    [CHAT_CHATML] = {
        .name = "chatml",
        .marks = { "<|im_start|>", "<|im_end|>" },
        .absent = { "think>", "You are", "tool_" },
        CHATML,
    },
    [CHAT_QWEN3_INSTRUCT] = {
        .name = "qwen3 instruct",
        .marks = { "<|im_start|>", "'\\n<tool_response>\\n'" },
        .absent = { "<think>", "</think>", "You are", "bos_token" },
        CHATML, .flags = CHAT_TOOLS,
    },
    [CHAT_QWEN3_CODER] = {
        .name = "qwen3 coder",
        .marks = { "<|im_start|>", "You are Qwen, a helpful AI assistant that can interact with" },
        .absent = { "<think>" },
        CHATML, .flags = CHAT_NO_TOOLS,
    },
    [CHAT_QWEN1_5] = {
        .name = "qwen1.5",
        .marks = { "<|im_start|>", "You are a helpful assistant<|im_end|>" },
        CHATML, .system_default = "You are a helpful assistant",
    },
    [CHAT_QWEN2] = {
        .name = "qwen2",
        .marks = { "<|im_start|>", "system\\nYou are a helpful assistant.<|im_end|>" },
        CHATML, .system_default = "You are a helpful assistant.",
    },
    [CHAT_QWEN2_5] = {
        .name = "qwen2.5",
        .marks = { "<|im_start|>",
                   "system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>" },
        CHATML, .flags = CHAT_TOOLS,
        .system_default = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
    },
    [CHAT_QWEN3] = {
        .name = "qwen3",
        .marks = { "<|im_start|>", "multi_step_tool", "enable_thinking is false" },
        .absent = { "<|im_start|>assistant\\n<think>\\n'", "image", "bos_token" },
        CHATML, .flags = CHAT_TOOLS | CHAT_THINK,
    },
    [CHAT_QWEN3_THINKING] = {
        .name = "qwen3 thinking",
        .marks = { "<|im_start|>", "multi_step_tool", "<|im_start|>assistant\\n<think>\\n'" },
        .absent = { "enable_thinking", "image", "bos_token" },
        CHATML_TURNS, .answer = "<|im_start|>assistant\n<think>\n", .flags = CHAT_TOOLS | CHAT_THINK,
    },
    [CHAT_LLAMA3] = {
        .name = "llama-3",
        .marks = { "<|start_header_id|>", "<|eot_id|>" },
        .absent = { "tools", "Today" },
        LLAMA3, .flags = CHAT_BOS | CHAT_TRIM,
    },
    [CHAT_LLAMA3_1] = {
        .name = "llama-3.1",
        .marks = { "<|start_header_id|>", "Cutting Knowledge Date: December 2023", "26 Jul 2024" },
        LLAMA3, .flags = CHAT_BOS | CHAT_TRIM | CHAT_NO_TOOLS, .system_default = "",
        .system_head = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n",
    },
    [CHAT_LLAMA2] = {
        .name = "llama-2",
        .marks = { "[INST]", "<<SYS>>" },
        .inst = true, .head = "[INST] ", .foot = " [/INST]", .answer = " ", .after_answer = " ",
        .flags = CHAT_BOS | CHAT_TRIM | CHAT_BOS_EACH | CHAT_SYS_MARKS,
    },
    [CHAT_MISTRAL] = {
        .name = "mistral",
        .marks = { "'[INST] '", "' [/INST]'" },
        .absent = { "<<SYS>>", "[SYSTEM_PROMPT]" },
        .inst = true, .head = "[INST] ", .foot = " [/INST]", .answer = "", .after_answer = "", .flags = CHAT_BOS,
    },
    [CHAT_MISTRAL_V1] = {
        .name = "mistral v1",
        .marks = { " [INST] ", " [/INST]" },
        .absent = { "<<SYS>>", "[SYSTEM_PROMPT]" },
        .inst = true, .head = " [INST] ", .foot = " [/INST]", .answer = " ", .after_answer = "", .flags = CHAT_BOS,
    },
    [CHAT_MISTRAL_V3] = {
        .name = "mistral v3",
        .marks = { "\"[INST] \"", "\"[/INST]\"" },
        .absent = { "<<SYS>>", "[SYSTEM_PROMPT]" },
        .inst = true, .head = "[INST] ", .foot = "[/INST]", .answer = " ", .after_answer = "",
        .flags = CHAT_BOS | CHAT_TRIM_ANSWER | CHAT_SYSTEM_LAST,
    },
    [CHAT_MISTRAL_NEMO] = {
        .name = "mistral nemo",
        .marks = { "\"[INST]\"", "\"[/INST]\"" },
        .absent = { "<<SYS>>", "[SYSTEM_PROMPT]" },
        .inst = true, .head = "[INST]", .foot = "[/INST]", .answer = "", .after_answer = "",
        .flags = CHAT_BOS | CHAT_SYSTEM_LAST,
    },
    [CHAT_TULU] = {
        .name = "tulu",
        .marks = { "<|user|>", "<|assistant|>", "eos_token" },
        .absent = { "<|user|>\n' + message['content'] + eos_token", "<|user|>\\n' + message['content'] + eos_token",
                    "<|end|>", "[gMASK]" },
        BARS, .foot = "\n", .flags = CHAT_BOS | CHAT_EOS_FOOT | CHAT_NO_TOOLS,
    },
    [CHAT_ZEPHYR] = {
        .name = "zephyr",
        .marks = { "<|user|>", "<|assistant|>", "message['content'] + eos_token }}" },
        .absent = { "<|end|>", "[gMASK]" },
        BARS, .foot = "\n", .flags = CHAT_EOS_EACH | CHAT_NO_TOOLS,
    },
    [CHAT_PHI3] = {
        .name = "phi-3",
        .marks = { "<|user|>", "<|assistant|>", "<|end|>" },
        .absent = { "tools", "<think>" },
        BARS, .foot = "<|end|>\n", .flags = CHAT_NO_TOOLS,
    },
};
/* clang-format on */

const struct chat_row *chat_format_row(enum chat_format format)
{
    return &rows[format];
}

static bool holds(const char *text, size_t len, const char *mark)
{
    return memmem(text, len, mark, strlen(mark)) != NULL;
}

static bool row_fits(const struct chat_row *row, const char *text, size_t len)
{
    for (size_t i = 0; i < sizeof(row->marks) / sizeof(row->marks[0]) && row->marks[i] != NULL; i++)
        if (!holds(text, len, row->marks[i]))
            return false;
    for (size_t i = 0; i < sizeof(row->absent) / sizeof(row->absent[0]) && row->absent[i] != NULL; i++)
        if (holds(text, len, row->absent[i]))
            return false;
    return true;
}

enum chat_format chat_format_of(const char *text, size_t len, bool *ret_recognised)
{
    for (int i = 0; i < CHAT_FORMATS; i++)
        if (row_fits(&rows[i], text, len)) {
            *ret_recognised = true;
            return (enum chat_format)i;
        }
    *ret_recognised = false;
    return CHAT_CHATML;
}

enum chat_format chat_format_detect(const struct gguf *gguf, bool *ret_recognised)
{
    struct gguf_str text;

    if (gguf_get_str(gguf, "tokenizer.chat_template", &text, NULL) == 0)
        return chat_format_of(text.p, text.len, ret_recognised);
    *ret_recognised = false;
    return CHAT_CHATML;
}

const char *chat_format_name(enum chat_format format)
{
    return rows[format].name;
}

const char *const *chat_format_stops(enum chat_format format)
{
    static const char *const none[] = { NULL };

    (void)format; /* every format so far ends its answers with a token */
    return none;
}
