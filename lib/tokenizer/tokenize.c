/* tokenize.c - the byte alphabet, and what can be asked of a vocabulary. */
#include "tokenizer/tokenizer.h"
#include <string.h>

/* ---- GPT-2's byte alphabet: printable Latin-1 stands for itself, the other 68 bytes for U+0100 and up, in order
 * ---- */

static bool is_printable(int b) {
    return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
}

int32_t qd_byte_level_char(uint8_t byte) {
    if (is_printable(byte)) return byte;
    if (byte <= 0x20) return 0x100 + byte;
    if (byte <= 0xA0) return 0x121 + (byte - 0x7F);
    return 0x143; /* 0xAD */
}

int qd_byte_level_byte(int32_t c) {
    if (c < 0x100) return is_printable(c) ? c : -1;
    if (c <= 0x120) return c - 0x100;
    if (c <= 0x142) return c - 0x121 + 0x7F;
    return c == 0x143 ? 0xAD : -1;
}

bool qd_byte_level_decode(const char *token, size_t n, char *out, size_t *n_out) {
    *n_out = 0;
    for (size_t i = 0, len; i < n; i += len) {
        int byte = qd_byte_level_byte(qd_utf8_next((const uint8_t *)token + i, &len));
        if (byte < 0) return false;
        out[(*n_out)++] = (char)byte;
    }
    return true;
}

size_t qdisp_tokenizer_n_vocab(const qdisp_tokenizer *tokenizer) {
    return tokenizer ? tokenizer->strings.n : 0;
}

int32_t qdisp_tokenizer_id(const qdisp_tokenizer *tokenizer, const char *token) {
    return tokenizer && token ? qd_strings_find(&tokenizer->strings, token, strlen(token)) : -1;
}

const char *qdisp_tokenizer_token(const qdisp_tokenizer *tokenizer, int32_t id) {
    return tokenizer && id >= 0 && (size_t)id < tokenizer->strings.n ? tokenizer->strings.str[id] : NULL;
}

bool qd_tokenizer_is_byte(const qdisp_tokenizer *tokenizer, int32_t id) {
    const char *token = tokenizer->strings.str[id], *decoded = tokenizer->decoded.str[id];
    if (!token) return false;
    if (tokenizer->strings.len[id] == 6 && !memcmp(token, "<0x", 3) && strspn(token + 3, "0123456789ABCDEF") == 2 &&
        token[5] == '>')
        return true;
    return decoded && tokenizer->decoded.len[id] == 1 && (uint8_t)*decoded >= 0x80;
}
