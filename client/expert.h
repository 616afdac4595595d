/* SPDX-License-Identifier: MIT
 *
 * expert.h: the C client library of expertd (libexpert; compile with `pkg-config --cflags --libs libexpert`).
 *
 * Open a client, ask, read the answer as it is written:
 *
 *     struct expert_client *client;
 *     struct expert_error error;
 *     struct expert_request request;
 *     struct expert_message hello = { "user", "Tell me a story." };
 *
 *     if (expert_open(NULL, &client, &error) < 0)
 *         fprintf(stderr, "%s\n", error.text);
 *     expert_request_init(&request);
 *     request.messages = &hello;
 *     request.n_messages = 1;
 *     request.on_text = print_it;
 *     if (expert_complete(client, &request, NULL, &error) < 0)
 *         fprintf(stderr, "%s\n", error.text);
 *     expert_close(client);
 *
 * Errors. Every call that can fail returns 0 or a negative EXPERT_ERR_ code and takes a `struct expert_error *`, which
 * may be NULL: its text is one sentence that names the cause and, where there is one, the remedy. Results are written
 * on success only.
 *
 * Threads. A client belongs to one thread at a time, and does one thing at a time. Only expert_cancel() may be called
 * from other threads, at any time between open and close. Different clients are independent of each other. Callbacks
 * run on the thread that called, inside the call; they may use other clients but not their own (expert_cancel
 * excepted).
 *
 * Ownership. A request and all it points to stay the caller's and need to live only during the call. Texts that a call
 * returns are lent by the client until the next call on it, or its close.
 *
 * Growth. Structures are filled by the library's own init functions and have room to grow, so a program keeps working
 * with later libraries of the same major version. Fields called `reserved` are none of a program's business.
 */
#ifndef EXPERT_H
#define EXPERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum expert_code {
    EXPERT_ERR_USAGE = -1,      /* the request contradicts itself or an address is malformed: nothing was sent */
    EXPERT_ERR_MEMORY = -2,     /* out of memory here, in the client */
    EXPERT_ERR_NO_DAEMON = -3,  /* nobody listens at the address */
    EXPERT_ERR_PERMISSION = -4, /* the socket is there, but not for this user */
    EXPERT_ERR_LOADING = -5,    /* the daemon is up and still reads its model: `progress` says how far */
    EXPERT_ERR_CONNECTION = -6, /* the connection broke, or stayed silent for too long */
    EXPERT_ERR_PROTOCOL = -7,   /* what answers does not speak as expertd does */
    EXPERT_ERR_SERVER = -8,     /* the daemon refused or failed: text is its message */
    EXPERT_ERR_BUSY = -9,       /* the daemon's queue is full: try again later */
    EXPERT_ERR_CANCELED = -10,  /* expert_cancel() was called, or a callback asked to stop */
    EXPERT_ERR_NOT_FOUND = -11, /* the daemon does not know this call (an older one, perhaps) */
};

struct expert_error {
    int code;        /* an EXPERT_ERR_ code, 0 when no error has been recorded */
    int http_status; /* the answer's status, 0 when there was none */
    double progress; /* with EXPERT_ERR_LOADING: 0 to 1, negative when unknown */
    char param[64];  /* the request field that the daemon complains about, or "" */
    char type[64];   /* the daemon's own name for the kind of error, or "" */
    char text[800];  /* NUL-terminated UTF-8 without a trailing newline */
};

/* A short name for a code ("no daemon"). Static storage. */
const char *expert_code_name(int code);

/* The library's version, "1.2.3". Static storage. */
const char *expert_version(void);

/* ---- connection ---- */

struct expert_client;

/*
 * A client of the daemon at `address`: the path of a Unix socket ("/run/expertd/expertd.sock", "unix:x.sock") or a URL
 * ("http://127.0.0.1:8080"). NULL or "" asks expert_default_address(). Opening connects to nothing yet, so it does not
 * say whether a daemon is there; the first call does, and expert_health() is made for asking.
 */
int expert_open(const char *address, struct expert_client **ret_client, struct expert_error *error);

/* Close what expert_open() returned. NULL is fine. No call may be in progress. */
void expert_close(struct expert_client *client);

/*
 * Where a daemon is looked for when nobody says: $EXPERTD_SOCKET, else the one that is there of
 * $XDG_RUNTIME_DIR/expertd.sock (a daemon of the user's own) and /run/expertd/expertd.sock (the system's), else the
 * first of them that has a name. Writes a NUL-terminated address into `buffer` and returns it; NULL when it does not
 * fit.
 */
const char *expert_default_address(char *buffer, size_t buffer_bytes);

/* The address in use. Lent until close. */
const char *expert_address(const struct expert_client *client);

/*
 * How long the daemon may stay silent in the middle of a call before the call fails with EXPERT_ERR_CONNECTION. While
 * it works, expertd sends something at least every 15 s. `complete_ms` is for expert_complete() (default 300000),
 * `status_ms` for all other calls (default 10000). 0 waits for ever.
 */
void expert_set_patience(struct expert_client *client, int complete_ms, int status_ms);

/*
 * End the call in progress: it returns EXPERT_ERR_CANCELED within a millisecond, and the daemon stops generating. The
 * order stands, so that one given a moment too early is not lost: every later call on the client ends likewise until
 * expert_cancel_reset(). Any thread; not for signal handlers.
 */
void expert_cancel(struct expert_client *client);
void expert_cancel_reset(struct expert_client *client);

/* ---- completions ---- */

struct expert_message {
    const char *role;    /* "system", "user" or "assistant" */
    const char *content; /* UTF-8 */
};

#define EXPERT_UNSET INT64_MIN /* an integer option left to the daemon; for real numbers it is NAN */

struct expert_result;

struct expert_request {
    /* One of the two. */
    const struct expert_message *messages; /* [n_messages] a chat, oldest first: the model's chat template is applied */
    size_t n_messages;
    const char *prompt; /* plain text, continued as it stands */

    const char *model;       /* NULL: the daemon has one */
    int64_t max_tokens;      /* at most this many tokens */
    int64_t seed;            /* the same seed and request give the same text */
    int64_t top_k;           /* 1 or more: choose among the k likeliest; 0: among all */
    double temperature;      /* 0: always the likeliest token */
    double top_p;            /* 0 to 1 */
    double min_p;            /* 0 to 1 */
    double repeat_penalty;   /* 1: none */
    double presence_penalty; /* 0: none */
    double frequency_penalty;
    const char *const *stop; /* [n_stop] texts that end the answer, not part of it */
    size_t n_stop;
    bool ignore_eos; /* generate to max_tokens even when the model wants to end (for measuring) */

    /*
     * Text as it arrives: whole UTF-8 characters, not NUL-terminated, valid during the call. A value other than 0 ends
     * the request, and expert_complete() returns EXPERT_ERR_CANCELED. May be NULL.
     */
    int (*on_text)(void *user, const char *text, size_t n_bytes);
    /* Once, after the last text of an answer that arrived whole. May be NULL. */
    void (*on_done)(void *user, const struct expert_result *result);
    void *user; /* handed to the callbacks */

    void *reserved[8];
};

/* A request with every option unset. */
void expert_request_init(struct expert_request *request);

struct expert_result {
    const char *text; /* the whole answer, NUL-terminated; lent by the client until its next call */
    size_t text_bytes;
    char finish_reason[32]; /* "stop", "length", ... as the daemon says, or "" */
    char model[256];        /* the model that answered, or "" */

    int64_t prompt_tokens;     /* EXPERT_UNSET when the daemon does not say */
    int64_t completion_tokens; /* likewise */

    /* The daemon's own figures; NAN when it does not say. */
    double prompt_tokens_per_second;
    double tokens_per_second;
    double hit_rate;             /* 0 to 1: experts found in memory */
    double bytes_read_per_token; /* from the drive */

    /* Measured here. */
    uint64_t first_text_ns; /* from the call to the first text; 0 when there was none */
    uint64_t total_ns;      /* from the call to its end */

    uint64_t reserved[8];
};

/*
 * Ask, and wait for the end of the answer. `ret_result` may be NULL. When an answer breaks off (cancel included), text
 * that has arrived so far has been given to on_text, but there is no result.
 */
int expert_complete(struct expert_client *client, const struct expert_request *request,
                    struct expert_result *ret_result, struct expert_error *error);

/* ---- what the daemon says of itself ---- */

enum expert_status {
    EXPERT_STATUS_OK = 0,      /* ready to answer */
    EXPERT_STATUS_LOADING = 1, /* reads its model */
    EXPERT_STATUS_FAILED = 2,  /* up, but cannot answer: `text` says why */
};

struct expert_health {
    enum expert_status status;
    double progress; /* while loading, 0 to 1; negative when unknown */
    char text[256];  /* the daemon's own word ("ok", "loading", "draining", ...) */
    uint64_t reserved[4];
};

/* A daemon that is loading or has failed still has a health: that is a result and not an error. */
int expert_health(struct expert_client *client, struct expert_health *ret_health, struct expert_error *error);

struct expert_model {
    char id[256];
    int64_t created; /* seconds since 1970, EXPERT_UNSET when not said */
    int64_t reserved[4];
};

/* The first `max_models` models; `ret_n` is how many there are, which may be more. */
int expert_models(struct expert_client *client, struct expert_model *models, size_t max_models, size_t *ret_n,
                  struct expert_error *error);

/* What is loaded, and with what. Numbers the daemon does not give are EXPERT_UNSET, texts "". */
struct expert_props {
    char model[256]; /* the name in the API */
    char model_path[512];
    char architecture[64];
    char quantization[64];
    char io[128];     /* how experts are read: engine and mode, in the daemon's words */
    char device[128]; /* what computes */
    char version[64]; /* of the daemon */
    int64_t context_tokens;
    int64_t n_layers;
    int64_t n_experts;      /* in each layer */
    int64_t n_experts_used; /* for each token and layer */
    int64_t n_threads;
    int64_t n_parallel;   /* answers written at once */
    int64_t model_bytes;  /* all weights */
    int64_t expert_bytes; /* of them, experts */
    int64_t token_bytes;  /* experts that one token needs */
    int64_t memory_bytes; /* the budget, and how it is divided: */
    int64_t dense_bytes;  /* weights that stay */
    int64_t kv_bytes;     /* attention's memory of the texts */
    int64_t slots_bytes;  /* room for experts */
    int64_t read_bytes;   /* of one read of experts, and how many are in flight at once */
    int64_t read_depth;
    int64_t drive_rate;       /* bytes per second that the drive then gives, as measured; 0: not measured */
    int64_t drive_measured_s; /* when, Unix time */
    int64_t reserved[4];
};

int expert_props(struct expert_client *client, struct expert_props *ret_props, struct expert_error *error);

/* Counters since the daemon's start, and its present state. Numbers it does not give are EXPERT_UNSET or NAN. */
struct expert_stats {
    char status[32];
    int64_t uptime_s;
    int64_t requests;
    int64_t requests_done;
    int64_t requests_failed;
    int64_t requests_canceled;
    int64_t active;  /* answers being written now */
    int64_t waiting; /* requests waiting for their turn */
    int64_t prompt_tokens;
    int64_t tokens;  /* written */
    int64_t step_ns; /* spent in the forward pass */
    int64_t expert_hits;
    int64_t expert_misses;
    int64_t bytes_read;
    int64_t wait_ns; /* the engine stood still for reads */
    int64_t slots;   /* experts that fit in memory */
    int64_t slots_used;
    int64_t huge_bytes; /* of the slots, in huge pages */
    int64_t rss_bytes;
    int64_t peak_rss_bytes;
    int64_t memory_bytes; /* the budget */
    double hit_rate;      /* 0 to 1 */
    double bytes_read_per_token;
    int64_t door_ns;          /* the engine was busy with the cache itself */
    int64_t busy_ns;          /* the drive had reads to do */
    int64_t given_back_bytes; /* room for experts given back for want of memory elsewhere, for now */
    int64_t limit_bytes;      /* of the control group that is tightest; unset without one */
    int64_t limit_left_bytes; /* and what it leaves */
    /* Of the experts that are followed: asked for, found, and what each policy, or foresight, would have found. */
    int64_t shadow_asked, shadow_found;
    int64_t shadow_lru, shadow_lfu, shadow_aged, shadow_lfru, shadow_next_use, shadow_oracle;
    int64_t vram_slots; /* experts that fit on the GPU; unset where the CPU computes */
    int64_t vram_hits;  /* experts found there */
    int64_t reserved[1];
};

int expert_stats(struct expert_client *client, struct expert_stats *ret_stats, struct expert_error *error);

/* An answer that is being written. */
struct expert_sequence {
    int64_t id;
    char state[32];        /* "reading" the prompt or "writing" the answer */
    int64_t prompt_tokens; /* of which prompt_done have been read */
    int64_t prompt_done;
    int64_t tokens; /* written */
    int64_t pid;    /* of the asking process; EXPERT_UNSET or 0 when unknown */
    int64_t uid;    /* its user; -1 or EXPERT_UNSET when unknown */
    double age_s;
    double tokens_per_second;
    double hit_rate;
    int64_t reserved[4];
};

/* The first `max_sequences` of them; `ret_n` is how many there are, which may be more. */
int expert_sequences(struct expert_client *client, struct expert_sequence *sequences, size_t max_sequences,
                     size_t *ret_n, struct expert_error *error);

/*
 * The JSON behind the calls above, or any other that the daemon offers: GET `path` when `body` is NULL, else POST
 * `body`. `ret_json` is NUL-terminated and has been checked to be JSON; lent by the client until its next call.
 */
int expert_call_json(struct expert_client *client, const char *path, const char *body, const char **ret_json,
                     struct expert_error *error);

#ifdef __cplusplus
}
#endif

#endif
