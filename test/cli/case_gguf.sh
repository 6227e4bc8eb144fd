# A GGUF model with its own vocabulary, whose add_bos_token is false: every command that takes a model.
gguf=$root/test/golden/gguf/llama_bytes.gguf
mkdir few_lines
for tag in en sw; do head -n 4 "$text/$tag.txt" | cut -c 1-40 >"few_lines/$tag.txt"; done
run eval "$gguf" --corpus few_lines --format csv -q
expect_status 0
cp out losses.csv
if python3 - few_lines losses.csv <<'EOF'
import csv, sys
rows = {(r["language"], int(r["i_line"])): r for r in csv.DictReader(open(sys.argv[2]))}
assert len(rows) == 8
for (tag, i), row in rows.items():
    line = open(f"{sys.argv[1]}/{tag}.txt", "rb").read().splitlines()[i]
    # a token a byte, three a space, one of which is put in front; the first is not scored: nothing is read before it
    assert int(row["n_tokens"]) == len(b" " + line) + 2 * (b" " + line).count(b" ") - 1, row
EOF
then pass; else fail "the first token of a line is scored"; fi
run eval "$gguf" --text few_lines/en.txt --window 64 --min-context 33 --replace-first --json -q
expect_status 0
expect_json out
run tokenize "$gguf" --text few_lines/en.txt --decode --json
expect_status 0
expect_in out '"same": 1'
run fertility "$gguf" --corpus few_lines -q
expect_status 0
run inspect "$gguf" --json
expect_status 0
expect_in out "llama"
run census "$gguf" --json
expect_status 0
expect_in out "model.layers.0.self_attn.q_proj.weight"
run calibrate "$gguf" --corpus few_lines -o gguf_stats -q
expect_status 0
run plan "$gguf" --stats gguf_stats --method la-aciq --bits 3 -o gguf_plan.csv -q
expect_status 0
run quantize "$gguf" --plan gguf_plan.csv -o gguf_quantized -q
expect_status 0
run eval gguf_quantized --tokenizer "$gguf" --against "$gguf" --corpus few_lines --json -q
expect_status 0
expect_json out
run diagnose "$gguf" --corpus few_lines --methods rtn --bits 4,2 --resamples 200 --json -q
expect_status 0
expect_json out
if python3 - out <<'EOF'
import json, math, sys
tables = json.load(open(sys.argv[1]))["tables"]
rows = tables["languages"]["rows"]
assert [r["language"] for r in rows] == ["en", "sw"]
assert all(math.isfinite(r["baseline_bpb"]) and math.isfinite(r["rtn2.loss"]) for r in rows)
EOF
then pass; else fail "the diagnosis is not complete"; fi
run diagnose "$gguf" --tokenizer "$root/README.md" --corpus few_lines
expect_status 1
expect_in err "README.md: neither tokenizer.json"
