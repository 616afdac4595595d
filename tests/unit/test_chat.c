/* SPDX-License-Identifier: MIT
 *
 * What chat_render must write was rendered by Jinja2 from the models' own templates, with these conversations.
 */
#include "base/mem.h"
#include "model/chat.h"
#include "tests/support/small_vocab.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct conversation {
    size_t n;
    struct chat_message messages[6];
};

#define SAY(role, text)              \
    {                                \
        role, text, sizeof(text) - 1 \
    }

static const struct conversation one = { 1, { SAY("user", "Hello") } };
static const struct conversation asked = { 2, { SAY("system", "Be brief."), SAY("user", "Hello") } };
static const struct conversation turns = {
    6,
    { SAY("system", "Be brief."), SAY("user", "One?"), SAY("assistant", "1"), SAY("user", "Two?"),
      SAY("assistant", "2"), SAY("user", "Three?") },
};
static const struct conversation blanks = {
    3, { SAY("user", "\n Hi\t"), SAY("assistant", " \xe3\x80\x80yes\xc2\xa0\n"), SAY("user", "  ") }
};
static const struct conversation marks = { 1, { SAY("user", "a<|im_end|>b</s>[/INST]<|eot_id|>") } };
static const struct conversation thoughts = {
    3, { SAY("user", "One?"), SAY("assistant", "<think>\nhm\n</think>\n\n1"), SAY("user", "Two?") }
};
static const struct conversation tools = {
    4,
    { SAY("user", "call"), SAY("assistant", "<think>so</think>calling"), SAY("tool", "1st"), SAY("tool", "2nd") },
};

/* The BOS in front is a token that chat_encode adds, and is left out. */
/* clang-format off */
static const struct {
    enum chat_format format;
    const struct conversation *conversation;
    const char *text;
} cases[] = {
    { CHAT_CHATML, &one,
      "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_CHATML, &asked,
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_CHATML, &turns,
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\n"
      "1<|im_end|>\n<|im_start|>user\nTwo?<|im_end|>\n<|im_start|>assistant\n2<|im_end|>\n"
      "<|im_start|>user\nThree?<|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_CHATML, &blanks,
      "<|im_start|>user\n\n Hi\t<|im_end|>\n<|im_start|>assistant\n \xe3\x80\x80" "yes\xc2\xa0" "\n"
      "<|im_end|>\n<|im_start|>user\n  <|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_CHATML, &marks,
      "<|im_start|>user\na<|im_end|>b</s>[/INST]<|eot_id|><|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_QWEN1_5, &one,
      "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
      "<|im_start|>assistant\n" },
    { CHAT_QWEN1_5, &asked,
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_QWEN1_5, &turns,
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\n"
      "1<|im_end|>\n<|im_start|>user\nTwo?<|im_end|>\n<|im_start|>assistant\n2<|im_end|>\n"
      "<|im_start|>user\nThree?<|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_QWEN1_5, &marks,
      "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n<|im_start|>user\n"
      "a<|im_end|>b</s>[/INST]<|eot_id|><|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_QWEN2, &one,
      "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
      "<|im_start|>assistant\n" },
    { CHAT_QWEN2, &asked,
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_QWEN2, &turns,
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\n"
      "1<|im_end|>\n<|im_start|>user\nTwo?<|im_end|>\n<|im_start|>assistant\n2<|im_end|>\n"
      "<|im_start|>user\nThree?<|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_QWEN2, &marks,
      "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
      "a<|im_end|>b</s>[/INST]<|eot_id|><|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_QWEN2_5, &one,
      "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
      "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_QWEN2_5, &asked,
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_QWEN2_5, &turns,
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\n"
      "1<|im_end|>\n<|im_start|>user\nTwo?<|im_end|>\n<|im_start|>assistant\n2<|im_end|>\n"
      "<|im_start|>user\nThree?<|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_QWEN2_5, &blanks,
      "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
      "<|im_start|>user\n\n Hi\t<|im_end|>\n<|im_start|>assistant\n \xe3\x80\x80" "yes\xc2\xa0" "\n"
      "<|im_end|>\n<|im_start|>user\n  <|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_QWEN2_5, &marks,
      "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
      "<|im_start|>user\na<|im_end|>b</s>[/INST]<|eot_id|><|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_QWEN2_5, &thoughts,
      "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
      "<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\n<think>\nhm\n</think>\n\n1<|im_end|>\n"
      "<|im_start|>user\nTwo?<|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_QWEN2_5, &tools,
      "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
      "<|im_start|>user\ncall<|im_end|>\n<|im_start|>assistant\n<think>so</think>calling<|im_end|>\n"
      "<|im_start|>user\n<tool_response>\n1st\n</tool_response>\n<tool_response>\n2nd\n"
      "</tool_response><|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_QWEN3, &one,
      "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_QWEN3, &asked,
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_QWEN3, &turns,
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\n"
      "1<|im_end|>\n<|im_start|>user\nTwo?<|im_end|>\n<|im_start|>assistant\n2<|im_end|>\n"
      "<|im_start|>user\nThree?<|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_QWEN3, &blanks,
      "<|im_start|>user\n\n Hi\t<|im_end|>\n<|im_start|>assistant\n \xe3\x80\x80" "yes\xc2\xa0" "\n"
      "<|im_end|>\n<|im_start|>user\n  <|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_QWEN3, &marks,
      "<|im_start|>user\na<|im_end|>b</s>[/INST]<|eot_id|><|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_QWEN3, &thoughts,
      "<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\n1<|im_end|>\n<|im_start|>user\n"
      "Two?<|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_QWEN3, &tools,
      "<|im_start|>user\ncall<|im_end|>\n<|im_start|>assistant\n<think>\nso\n</think>\n\n"
      "calling<|im_end|>\n<|im_start|>user\n<tool_response>\n1st\n</tool_response>\n<tool_response>\n2nd\n"
      "</tool_response><|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_QWEN3_CODER, &one,
      "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_QWEN3_CODER, &asked,
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_QWEN3_CODER, &turns,
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\n"
      "1<|im_end|>\n<|im_start|>user\nTwo?<|im_end|>\n<|im_start|>assistant\n2<|im_end|>\n"
      "<|im_start|>user\nThree?<|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_QWEN3_CODER, &marks,
      "<|im_start|>user\na<|im_end|>b</s>[/INST]<|eot_id|><|im_end|>\n<|im_start|>assistant\n" },
    { CHAT_QWEN3_THINKING, &one,
      "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n<think>\n" },
    { CHAT_QWEN3_THINKING, &asked,
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n<think>\n" },
    { CHAT_QWEN3_THINKING, &turns,
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\n"
      "1<|im_end|>\n<|im_start|>user\nTwo?<|im_end|>\n<|im_start|>assistant\n2<|im_end|>\n"
      "<|im_start|>user\nThree?<|im_end|>\n<|im_start|>assistant\n<think>\n" },
    { CHAT_QWEN3_THINKING, &marks,
      "<|im_start|>user\na<|im_end|>b</s>[/INST]<|eot_id|><|im_end|>\n<|im_start|>assistant\n<think>\n" },
    { CHAT_QWEN3_THINKING, &thoughts,
      "<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\n1<|im_end|>\n<|im_start|>user\n"
      "Two?<|im_end|>\n<|im_start|>assistant\n<think>\n" },
    { CHAT_QWEN3_THINKING, &tools,
      "<|im_start|>user\ncall<|im_end|>\n<|im_start|>assistant\n<think>\nso\n</think>\n\n"
      "calling<|im_end|>\n<|im_start|>user\n<tool_response>\n1st\n</tool_response>\n<tool_response>\n2nd\n"
      "</tool_response><|im_end|>\n<|im_start|>assistant\n<think>\n" },
    { CHAT_LLAMA2, &one,
      "[INST] Hello [/INST]" },
    { CHAT_LLAMA2, &asked,
      "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHello [/INST]" },
    { CHAT_LLAMA2, &turns,
      "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n"
      "One? [/INST] 1 </s><s>[INST] Two? [/INST] 2 </s><s>[INST] Three? [/INST]" },
    { CHAT_LLAMA2, &blanks,
      "[INST] Hi [/INST] yes </s><s>[INST]  [/INST]" },
    { CHAT_LLAMA2, &marks,
      "[INST] a<|im_end|>b</s>[/INST]<|eot_id|> [/INST]" },
    { CHAT_LLAMA3, &one,
      "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n" },
    { CHAT_LLAMA3, &asked,
      "<|start_header_id|>system<|end_header_id|>\n\n"
      "Be brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
      "Hello<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n" },
    { CHAT_LLAMA3, &turns,
      "<|start_header_id|>system<|end_header_id|>\n\n"
      "Be brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
      "One?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
      "1<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
      "Two?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
      "2<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
      "Three?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n" },
    { CHAT_LLAMA3, &blanks,
      "<|start_header_id|>user<|end_header_id|>\n\n"
      "Hi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
      "yes<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
      "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n" },
    { CHAT_LLAMA3, &marks,
      "<|start_header_id|>user<|end_header_id|>\n\n"
      "a<|im_end|>b</s>[/INST]<|eot_id|><|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n" },
    { CHAT_LLAMA3_1, &one,
      "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
      "Today Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
      "Hello<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n" },
    { CHAT_LLAMA3_1, &asked,
      "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
      "Today Date: 26 Jul 2024\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
      "Hello<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n" },
    { CHAT_LLAMA3_1, &turns,
      "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
      "Today Date: 26 Jul 2024\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
      "One?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
      "1<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
      "Two?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
      "2<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
      "Three?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n" },
    { CHAT_LLAMA3_1, &blanks,
      "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
      "Today Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
      "Hi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
      "yes<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
      "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n" },
    { CHAT_LLAMA3_1, &marks,
      "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
      "Today Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
      "a<|im_end|>b</s>[/INST]<|eot_id|><|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n" },
    { CHAT_MISTRAL, &one,
      "[INST] Hello [/INST]" },
    { CHAT_MISTRAL, &blanks,
      "[INST] \n Hi\t [/INST] \xe3\x80\x80" "yes\xc2\xa0" "\n</s>[INST]    [/INST]" },
    { CHAT_MISTRAL, &marks,
      "[INST] a<|im_end|>b</s>[/INST]<|eot_id|> [/INST]" },
    { CHAT_MISTRAL_V1, &one,
      " [INST] Hello [/INST]" },
    { CHAT_MISTRAL_V1, &asked,
      " [INST] Be brief.\n\nHello [/INST]" },
    { CHAT_MISTRAL_V1, &turns,
      " [INST] Be brief.\n\nOne? [/INST] 1</s> [INST] Two? [/INST] 2</s> [INST] Three? [/INST]" },
    { CHAT_MISTRAL_V1, &blanks,
      " [INST] \n Hi\t [/INST]  \xe3\x80\x80" "yes\xc2\xa0" "\n</s> [INST]    [/INST]" },
    { CHAT_MISTRAL_V1, &marks,
      " [INST] a<|im_end|>b</s>[/INST]<|eot_id|> [/INST]" },
    { CHAT_MISTRAL_V3, &one,
      "[INST] Hello[/INST]" },
    { CHAT_MISTRAL_V3, &asked,
      "[INST] Be brief.\n\nHello[/INST]" },
    { CHAT_MISTRAL_V3, &turns,
      "[INST] One?[/INST] 1</s>[INST] Two?[/INST] 2</s>[INST] Be brief.\n\nThree?[/INST]" },
    { CHAT_MISTRAL_V3, &blanks,
      "[INST] \n Hi\t[/INST] yes</s>[INST]   [/INST]" },
    { CHAT_MISTRAL_V3, &marks,
      "[INST] a<|im_end|>b</s>[/INST]<|eot_id|>[/INST]" },
    { CHAT_MISTRAL_NEMO, &one,
      "[INST]Hello[/INST]" },
    { CHAT_MISTRAL_NEMO, &asked,
      "[INST]Be brief.\n\nHello[/INST]" },
    { CHAT_MISTRAL_NEMO, &turns,
      "[INST]One?[/INST]1</s>[INST]Two?[/INST]2</s>[INST]Be brief.\n\nThree?[/INST]" },
    { CHAT_MISTRAL_NEMO, &blanks,
      "[INST]\n Hi\t[/INST] \xe3\x80\x80" "yes\xc2\xa0" "\n</s>[INST]  [/INST]" },
    { CHAT_MISTRAL_NEMO, &marks,
      "[INST]a<|im_end|>b</s>[/INST]<|eot_id|>[/INST]" },
    { CHAT_TULU, &one,
      "<|user|>\nHello\n<|assistant|>\n" },
    { CHAT_TULU, &asked,
      "<|system|>\nBe brief.\n<|user|>\nHello\n<|assistant|>\n" },
    { CHAT_TULU, &turns,
      "<|system|>\nBe brief.\n<|user|>\nOne?\n<|assistant|>\n1</s>\n<|user|>\nTwo?\n<|assistant|>\n2</s>\n"
      "<|user|>\nThree?\n<|assistant|>\n" },
    { CHAT_TULU, &blanks,
      "<|user|>\n\n Hi\t\n<|assistant|>\n \xe3\x80\x80" "yes\xc2\xa0" "\n</s>\n<|user|>\n  \n<|assistant|>\n" },
    { CHAT_TULU, &marks,
      "<|user|>\na<|im_end|>b</s>[/INST]<|eot_id|>\n<|assistant|>\n" },
    { CHAT_ZEPHYR, &one,
      "<|user|>\nHello</s>\n<|assistant|>\n" },
    { CHAT_ZEPHYR, &asked,
      "<|system|>\nBe brief.</s>\n<|user|>\nHello</s>\n<|assistant|>\n" },
    { CHAT_ZEPHYR, &turns,
      "<|system|>\nBe brief.</s>\n<|user|>\nOne?</s>\n<|assistant|>\n1</s>\n<|user|>\nTwo?</s>\n"
      "<|assistant|>\n2</s>\n<|user|>\nThree?</s>\n<|assistant|>\n" },
    { CHAT_ZEPHYR, &blanks,
      "<|user|>\n\n Hi\t</s>\n<|assistant|>\n \xe3\x80\x80" "yes\xc2\xa0" "\n</s>\n<|user|>\n  </s>\n<|assistant|>\n" },
    { CHAT_ZEPHYR, &marks,
      "<|user|>\na<|im_end|>b</s>[/INST]<|eot_id|></s>\n<|assistant|>\n" },
    { CHAT_PHI3, &one,
      "<|user|>\nHello<|end|>\n<|assistant|>\n" },
    { CHAT_PHI3, &asked,
      "<|system|>\nBe brief.<|end|>\n<|user|>\nHello<|end|>\n<|assistant|>\n" },
    { CHAT_PHI3, &turns,
      "<|system|>\nBe brief.<|end|>\n<|user|>\nOne?<|end|>\n<|assistant|>\n1<|end|>\n<|user|>\n"
      "Two?<|end|>\n<|assistant|>\n2<|end|>\n<|user|>\nThree?<|end|>\n<|assistant|>\n" },
    { CHAT_PHI3, &blanks,
      "<|user|>\n\n Hi\t<|end|>\n<|assistant|>\n \xe3\x80\x80" "yes\xc2\xa0" "\n<|end|>\n<|user|>\n"
      "  <|end|>\n<|assistant|>\n" },
    { CHAT_PHI3, &marks,
      "<|user|>\na<|im_end|>b</s>[/INST]<|eot_id|><|end|>\n<|assistant|>\n" },
};
/* clang-format on */

static const struct gguf_str bos = { "<s>", 3 }, eos = { "</s>", 4 };

static char *text_of(const struct chat_prompt *prompt)
{
    static char text[4096];
    size_t n = 0;

    for (size_t i = 0; i < prompt->n; i++) {
        cr_assert_lt(n + prompt->spans[i].len, sizeof(text));
        memcpy(text + n, prompt->spans[i].p, prompt->spans[i].len);
        n += prompt->spans[i].len;
    }
    text[n] = '\0';
    return text;
}

static char *render(enum chat_format format, const struct conversation *c)
{
    struct chat_prompt prompt;
    struct err err = { 0 };
    char *text;

    cr_assert_eq(chat_render(format, bos, eos, c->messages, c->n, &prompt, &err), 0, "%s", err.text);
    text = text_of(&prompt);
    chat_prompt_fini(&prompt);
    return text;
}

Test(chat, writes_what_the_templates_write)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *text = render(cases[i].format, cases[i].conversation);

        cr_expect_str_eq(text, cases[i].text, "case %zu (%s):\n%s\nnot\n%s", i, chat_format_name(cases[i].format), text,
                         cases[i].text);
    }
}

Test(chat, qwen3_instruct_is_chatml_with_tool_results)
{
    static const struct conversation *const same[] = { &one, &asked, &turns, &blanks, &thoughts };

    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        char *plain = strdup(render(CHAT_CHATML, same[i]));

        cr_expect_str_eq(render(CHAT_QWEN3_INSTRUCT, same[i]), plain);
        free(plain);
    }
    cr_expect_not_null(strstr(render(CHAT_QWEN3_INSTRUCT, &tools),
                              "<|im_start|>user\n<tool_response>\n1st\n</tool_response>\n<tool_response>\n2nd\n"
                              "</tool_response><|im_end|>\n"));
}

/* The first Mistral template knows no system message; it is put where its successor puts it. */
Test(chat, mistral_puts_the_system_message_before_the_first_user)
{
    cr_expect_str_eq(render(CHAT_MISTRAL, &asked), "[INST] Be brief.\n\nHello [/INST]");
}

Test(chat, contents_are_never_special)
{
    for (int f = 0; f < CHAT_FORMATS; f++) {
        struct chat_prompt prompt;
        bool found = false;

        cr_assert_eq(chat_render((enum chat_format)f, bos, eos, marks.messages, 1, &prompt, NULL), 0);
        for (size_t i = 0; i < prompt.n; i++) {
            bool content = prompt.spans[i].p == marks.messages[0].content;

            cr_expect_not(content && prompt.spans[i].special);
            found |= content && prompt.spans[i].len == marks.messages[0].content_len;
        }
        cr_expect(found, "format %d", f);
        chat_prompt_fini(&prompt);
    }
}

Test(chat, developer_is_system)
{
    static const struct conversation developer = { 2, { SAY("developer", "Be brief."), SAY("user", "Hello") } };

    for (int f = 0; f < CHAT_FORMATS; f++) {
        char *text = strdup(render((enum chat_format)f, &asked));

        cr_expect_str_eq(render((enum chat_format)f, &developer), text);
        free(text);
    }
}

static void refuse(enum chat_format format, const struct conversation *c, const char *named)
{
    struct chat_prompt prompt = { 0 };
    struct err err = { 0 };

    cr_expect_eq(chat_render(format, bos, eos, c->messages, c->n, &prompt, &err), -EINVAL, "%s", named);
    cr_expect_not_null(strstr(err.text, named), "'%s' is not named in: %s", named, err.text);
    cr_expect_null(prompt.spans);
}

Test(chat, what_a_format_cannot_say_is_refused_by_name)
{
    static const struct conversation empty = { 0 };
    static const struct conversation robot = { 2, { SAY("user", "Hi"), SAY("robot", "Hi") } };
    static const struct conversation twice = { 2, { SAY("user", "Hi"), SAY("user", "Hi?") } };
    static const struct conversation late = { 3, { SAY("user", "Hi"), SAY("assistant", "Hi"), SAY("system", "Hm") } };
    static const struct conversation unasked = { 2, { SAY("assistant", "Hi"), SAY("user", "Hi") } };
    static const struct conversation answered = { 2, { SAY("user", "Hi"), SAY("assistant", "Hi") } };
    static const struct conversation only_system = { 1, { SAY("system", "Hi") } };

    for (int f = 0; f < CHAT_FORMATS; f++) {
        refuse((enum chat_format)f, &empty, "empty");
        refuse((enum chat_format)f, &robot, "robot");
    }
    for (int f = CHAT_MISTRAL; f <= CHAT_MISTRAL_NEMO; f++) {
        refuse((enum chat_format)f, &twice, "messages[1]");
        refuse((enum chat_format)f, &late, "'system'");
        refuse((enum chat_format)f, &unasked, "messages[0]");
        refuse((enum chat_format)f, &answered, "the last");
        refuse((enum chat_format)f, &only_system, "the last");
        refuse((enum chat_format)f, &tools, "'tool'");
    }
    refuse(CHAT_TULU, &tools, "'tool'");
    refuse(CHAT_LLAMA3_1, &tools, "messages[2]");
}

static enum chat_format detect(const char *template, bool recognised)
{
    bool r;
    enum chat_format format = chat_format_of(template, strlen(template), &r);

    cr_expect_eq(r, recognised, "%s", template);
    return format;
}

/* Enough of each template to tell it by. */
Test(chat, templates_are_recognised_by_their_marks)
{
    cr_expect_eq(
        detect("{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}", true),
        CHAT_CHATML);
    cr_expect_eq(detect("{{ '<|im_start|>system\\nYou are a helpful assistant<|im_end|>\\n' }}", true), CHAT_QWEN1_5);
    cr_expect_eq(detect("{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}", true), CHAT_QWEN2);
    cr_expect_eq(detect("'<|im_start|>user' }} {{- '\\n<tool_response>\\n' }} '<|im_end|>'", true),
                 CHAT_QWEN3_INSTRUCT);
    cr_expect_eq(detect("'<|im_start|>' multi_step_tool '</think>' {{- '<|im_start|>assistant\\n<think>\\n' }}", true),
                 CHAT_QWEN3_THINKING);
    cr_expect_eq(detect("'<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' '<|eot_id|>'", true),
                 CHAT_LLAMA3);
    cr_expect_eq(detect("'[INST] ' + '<<SYS>>\\n' + content.strip() + ' [/INST]'", true), CHAT_LLAMA2);
    cr_expect_eq(detect("{{ '[INST] ' + message['content'] + ' [/INST]' }}", true), CHAT_MISTRAL);
    cr_expect_eq(detect("{{- ' [INST] ' + message['content'] + ' [/INST]' }}", true), CHAT_MISTRAL_V1);
    cr_expect_eq(detect("{{- \" [INST] \" + message[\"content\"] + \" [/INST]\" }}", true), CHAT_MISTRAL_V1);
    cr_expect_eq(detect("{{- \"[INST] \" + message[\"content\"] + \"[/INST]\" }}", true), CHAT_MISTRAL_V3);
    cr_expect_eq(detect("{{- \"[INST]\" + message[\"content\"] + \"[/INST]\" }}", true), CHAT_MISTRAL_NEMO);
    cr_expect_eq(
        detect("{{ '<|user|>\n' + message['content'] }} {{ '<|assistant|>\n'  + message['content'] + eos_token }}",
               true),
        CHAT_TULU);
    cr_expect_eq(detect("{{ '<|user|>\n' + message['content'] + eos_token }} {{ '<|assistant|>' }}", true),
                 CHAT_ZEPHYR);
    cr_expect_eq(detect("{{'<|user|>\n' + message['content'] + '<|end|>\n'}} '<|assistant|>'", true), CHAT_PHI3);
    cr_expect_eq(detect("", false), CHAT_CHATML);
    cr_expect_eq(detect("{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}", false),
                 CHAT_CHATML);
    cr_expect_eq(detect("{{ '<start_of_turn>' + role + '\\n' }}", false), CHAT_CHATML);
    cr_expect_eq(detect("'<|im_start|>' '<|im_end|>' 'You are SmolLM' '<think>'", false), CHAT_CHATML);
}

Test(chat, real_templates_are_recognised)
{
    static const struct {
        const char *file;
        bool recognised;
        enum chat_format format;
    } files[] = {
        { "Qwen-Qwen2.5-7B-Instruct", true, CHAT_QWEN2_5 },
        { "Qwen-Qwen3-0.6B", true, CHAT_QWEN3 },
        { "from-npm-qwen3", true, CHAT_QWEN3 },
        { "Qwen3-Coder", true, CHAT_QWEN3_CODER },
        { "meta-llama-Llama-3.1-8B-Instruct", true, CHAT_LLAMA3_1 },
        { "meta-llama-Llama-3.3-70B-Instruct", true, CHAT_LLAMA3_1 },
        { "mistralai-Mistral-Nemo-Instruct-2407", true, CHAT_MISTRAL_NEMO },
        { "microsoft-Phi-3.5-mini-instruct", true, CHAT_PHI3 },
        { "Qwen3.5-4B", false, CHAT_CHATML },
        { "HuggingFaceTB-SmolLM3-3B", false, CHAT_CHATML },
        { "Mistral-Small-3.2-24B-Instruct-2506", false, CHAT_CHATML },
        { "NousResearch-Hermes-3-Llama-3.1-8B-tool_use", false, CHAT_CHATML },
        { "openai-gpt-oss-120b", false, CHAT_CHATML },
        { "GLM-4.6", false, CHAT_CHATML },
        { "google-gemma-2-2b-it", false, CHAT_CHATML },
        { "deepseek-ai-DeepSeek-V3.1", false, CHAT_CHATML },
    };
    const char *shared = getenv("EXPERTD_SHARED");
    static char text[1 << 17];

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char path[1000];
        FILE *f;
        bool recognised;
        size_t len;

        snprintf(path, sizeof(path), "%s/templates/%s.jinja", shared != NULL ? shared : ".", files[i].file);
        f = fopen(path, "rb");
        if (f == NULL)
            cr_skip_test("skipped: no ../shared");
        len = fread(text, 1, sizeof(text), f);
        fclose(f);
        cr_expect_eq(chat_format_of(text, len, &recognised), files[i].format, "%s", files[i].file);
        cr_expect_eq(recognised, files[i].recognised, "%s", files[i].file);
    }
}

/* Byte i is token i; the marks of chatml are tokens 256 and 257, and BOS is 258. */
static struct tokenizer *open_chatml(bool adds_bos)
{
    static struct small_vocab v;
    struct gguf_builder keys;
    struct tokenizer *t = NULL;

    small_vocab_bpe(&v);
    small_vocab_add(&v, "<|im_start|>", TOKEN_CONTROL, 0);
    small_vocab_add(&v, "<|im_end|>", TOKEN_CONTROL, 0);
    small_vocab_add(&v, "<s>", TOKEN_CONTROL, 0);
    small_vocab_fill(&v, &keys);
    gguf_builder_u32(&keys, "tokenizer.ggml.bos_token_id", 258);
    gguf_builder_u32(&keys, "tokenizer.ggml.eos_token_id", 257);
    gguf_builder_bool(&keys, "tokenizer.ggml.add_bos_token", adds_bos);
    cr_assert_eq(small_vocab_open_keys(&keys, &t, NULL), 0);
    gguf_builder_fini(&keys);
    return t;
}

static size_t count(const struct token_ids *ids, int32_t id)
{
    size_t n = 0;

    for (size_t i = 0; i < ids->n; i++)
        n += ids->v[i] == id;
    return n;
}

Test(chat, marks_become_control_tokens_and_contents_do_not)
{
    struct tokenizer *t = open_chatml(false);
    struct token_ids ids = { 0 };

    cr_assert_eq(chat_encode(CHAT_CHATML, t, marks.messages, 1, 1000, &ids, NULL), 0);
    cr_expect_eq(ids.v[0], 256);
    cr_expect_eq(count(&ids, 256), 2);
    cr_expect_eq(count(&ids, 257), 1); /* not the one that the user wrote */
    cr_expect_eq(count(&ids, '<'), 3); /* the user's three marks, in letters */
    token_ids_fini(&ids);
    tokenizer_close(t);
}

Test(chat, bos_begins_a_prompt_where_vocabulary_or_format_say_so)
{
    for (int adds = 0; adds < 2; adds++) {
        struct tokenizer *t = open_chatml(adds);

        for (int f = 0; f < CHAT_FORMATS; f++) {
            bool writes = f == CHAT_LLAMA3 || f == CHAT_LLAMA3_1 || f == CHAT_TULU ||
                          (f >= CHAT_MISTRAL && f <= CHAT_MISTRAL_NEMO) || f == CHAT_LLAMA2;
            struct token_ids ids = { 0 };

            cr_assert_eq(chat_encode((enum chat_format)f, t, one.messages, 1, 1000, &ids, NULL), 0);
            cr_expect_eq(ids.v[0] == 258, adds || writes, "%s", chat_format_name((enum chat_format)f));
            cr_expect_eq(count(&ids, 258), ids.v[0] == 258);
            token_ids_fini(&ids);
        }
        tokenizer_close(t);
    }
}

Test(chat, a_conversation_that_is_too_long_is_an_error)
{
    struct tokenizer *t = open_chatml(true);
    struct token_ids ids = { 0 };
    struct err err = { 0 };
    size_t n;

    cr_assert_eq(chat_encode(CHAT_CHATML, t, one.messages, 1, 1000, &ids, NULL), 0);
    n = ids.n;
    ids.n = 0;
    cr_assert_eq(chat_encode(CHAT_CHATML, t, one.messages, 1, n, &ids, NULL), 0);
    ids.n = 0;
    cr_assert_eq(chat_encode(CHAT_CHATML, t, one.messages, 1, n - 1, &ids, &err), ERR_TOO_LONG);
    cr_assert_eq(ids.n, 0);
    token_ids_fini(&ids);
    tokenizer_close(t);
}

Test(chat, no_memory_is_an_error_at_every_allocation)
{
    struct tokenizer *t = open_chatml(true);
    struct token_ids ids = { 0 };
    int n, r = -1;

    for (n = 0; r < 0; n++) {
        mem_fail_after(n);
        r = chat_encode(CHAT_CHATML, t, turns.messages, turns.n, 1000, &ids, NULL);
        mem_fail_after(-1);
        if (r < 0) {
            cr_assert_eq(r, -ENOMEM);
            cr_assert_eq(ids.n, 0);
        }
    }
    cr_assert_gt(n, 3);
    token_ids_fini(&ids);
    tokenizer_close(t);
}

Test(chat, detection_reads_the_key_of_the_file)
{
    static struct small_vocab v;
    struct gguf_builder keys;
    struct gguf *gguf;
    bool recognised;

    small_vocab_bpe(&v);
    small_vocab_fill(&v, &keys);
    gguf = small_vocab_gguf(&keys);
    cr_expect_eq(chat_format_detect(gguf, &recognised), CHAT_CHATML);
    cr_expect_not(recognised);
    gguf_close(gguf);
    gguf_builder_str(&keys, "tokenizer.chat_template", "{{ '[INST] ' + message['content'] + ' [/INST]' }}");
    gguf = small_vocab_gguf(&keys);
    cr_expect_eq(chat_format_detect(gguf, &recognised), CHAT_MISTRAL);
    cr_expect(recognised);
    gguf_close(gguf);
    gguf_builder_fini(&keys);
    for (int f = 0; f < CHAT_FORMATS; f++)
        cr_expect_null(chat_format_stops((enum chat_format)f)[0]);
}
