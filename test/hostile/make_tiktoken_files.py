#!/usr/bin/env python3
"""Writes the broken tiktoken files of tiktoken/ and what each must be refused with (expected.txt: file, status, part
of the message). The test opens them as encoding llama3."""
import base64
import os

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tiktoken")
lines = []


def rank(token, n):
    return f"{base64.b64encode(token).decode()} {n}\n"


GOOD = "".join(rank(t, i) for i, t in enumerate([b"a", b"b", b"c", b"ab", b"abc", b" ", b" ab", b"\xc3", b"\xa9"]))
NOT_A_LINE = "line 10: not a token in base64 and its rank below 16777216"


def file(name, status, reason, more="", good=GOOD):
    text = good + more
    with open(os.path.join(HERE, name + ".tiktoken"), "wb") as f:
        f.write(text if isinstance(text, bytes) else text.encode())
    lines.append(f"{name}.tiktoken {status} {reason}\n")


def main():
    os.makedirs(HERE, exist_ok=True)
    file("good", "OK", "")
    file("crlf", "OK", "", good=GOOD.replace("\n", "\r\n"))
    file("blank_lines", "OK", "", good=GOOD.replace("\n", "\n\n"))
    file("no_last_newline", "OK", "", good=GOOD[:-1])
    file("ranks_in_any_order", "OK", "", good="".join(reversed(GOOD.splitlines(True))))
    file("gap", "OK", "", rank(b"d", 60000))
    file("long_token", "OK", "", rank(b"x" * 4095, 9))

    file("no_rank", "EFORMAT", NOT_A_LINE, "ZA==\n")
    file("no_rank_but_a_space", "EFORMAT", NOT_A_LINE, "ZA== \n")
    file("no_token", "EFORMAT", NOT_A_LINE, " 9\n")
    file("tab", "EFORMAT", NOT_A_LINE, "ZA==\t9\n")
    file("two_spaces", "EFORMAT", NOT_A_LINE, "ZA==  9\n")
    file("rank_negative", "EFORMAT", NOT_A_LINE, "ZA== -9\n")
    file("rank_fraction", "EFORMAT", NOT_A_LINE, "ZA== 9.5\n")
    file("rank_hexadecimal", "EFORMAT", NOT_A_LINE, "ZA== 0x9\n")
    file("rank_of_9_digits", "EFORMAT", NOT_A_LINE, "ZA== 000000009\n")
    file("rank_too_large", "EFORMAT", NOT_A_LINE, "ZA== 16777216\n")
    file("rank_wraps", "EFORMAT", NOT_A_LINE, "ZA== 18446744073709551625\n")
    file("rank_and_more", "EFORMAT", NOT_A_LINE, "ZA== 9 9\n")
    file("base64_letter", "EFORMAT", NOT_A_LINE, "Z*== 9\n")
    file("base64_for_urls", "EFORMAT", NOT_A_LINE, "-_8= 9\n")
    file("base64_length", "EFORMAT", NOT_A_LINE, "ZA= 9\n")
    file("base64_no_padding", "EFORMAT", NOT_A_LINE, "ZA 9\n")
    file("base64_padding_inside", "EFORMAT", NOT_A_LINE, "ZA==ZA== 9\n")
    file("base64_only_padding", "EFORMAT", NOT_A_LINE, "==== 9\n")
    file("base64_bits_behind", "EFORMAT", NOT_A_LINE, "ZB== 9\n")
    file("nul", "EFORMAT", NOT_A_LINE, "ZA==\0 9\n")
    file("token_of_5000_bytes", "EFORMAT", NOT_A_LINE, rank(b"x" * 5000, 9))
    file("rank_twice", "EFORMAT", "line 10: token 8: the id is given twice", rank(b"d", 8))
    file("token_twice", "EFORMAT", "line 10: token 9: the string is there twice", rank(b"ab", 9))
    file("gap_too_wide", "EFORMAT", "id 16777215 with only 10 ranks", rank(b"d", 16777215))
    file("long_first_line", "EUNSUPPORTED", "neither tokenizer.json", rank(b"y" * 300, 9), good="")
    file("utf16", "EUNSUPPORTED", "neither tokenizer.json", good=GOOD.encode("utf-16"), more=b"")
    with open(os.path.join(HERE, "expected.txt"), "w", encoding="utf-8") as f:
        f.write("".join(lines))


main()
