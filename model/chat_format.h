/* SPDX-License-Identifier: MIT
 *
 * chat_format.h: the table of chat formats. Private to chat.c and chat_format.c.
 *
 * Two kinds. *Turns*: every message stands between a head, which names its role, and a foot. *Inst*: user messages
 * stand between [INST] and [/INST], answers follow bare, and the system message is put inside a user message.
 */
#ifndef EXPERTD_MODEL_CHAT_FORMAT_H
#define EXPERTD_MODEL_CHAT_FORMAT_H

#include "model/chat.h"

enum {
    CHAT_BOS = 1 << 0,         /* begins with BOS whatever the vocabulary says (the template writes it) */
    CHAT_TRIM = 1 << 1,        /* contents lose the blanks at their ends */
    CHAT_TRIM_ANSWER = 1 << 2, /* answers do */
    CHAT_THINK = 1 << 3,       /* answers may hold thoughts, kept only after the last user message */
    CHAT_TOOLS = 1 << 4,       /* tool results are a user's turn, within <tool_response> */
    CHAT_EOS_FOOT = 1 << 5,    /* answers end in EOS before the foot */
    CHAT_EOS_EACH = 1 << 6,    /* so do all messages */
    CHAT_BOS_EACH = 1 << 7,    /* each [INST] after the first has a BOS in front */
    CHAT_SYSTEM_LAST = 1 << 8, /* the system message is put into the last user message, not the first */
    CHAT_SYS_MARKS = 1 << 9,   /* and between <<SYS>> marks */
    CHAT_NO_TOOLS = 1 << 10,   /* turns: no room for tool results */
};

struct chat_row {
    const char *name;
    const char *marks[4];  /* all are in the template; NULL after the last */
    const char *absent[4]; /* none of these is */
    unsigned flags;
    bool inst;
    const char *head, *after_role; /* turns: head role after_role; inst: head is [INST] with its blanks */
    const char *foot;              /* turns: ends a message; inst: [/INST] with its blanks */
    const char *answer;            /* turns: where the assistant is to speak; inst: stands before an answer */
    const char *after_answer;      /* inst: stands before the EOS of an answer */
    const char *system_default;    /* turns: what the system says if the conversation does not */
    const char *system_head;       /* turns: stands before what the system says */
};

const struct chat_row *chat_format_row(enum chat_format format);

#endif
