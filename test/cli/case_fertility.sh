# Tokens for the same text, many tokenizers side by side, in tables that fit a terminal.
gpt2=$root/test/golden/tokenizer/gpt2/tokenizer.json
run fertility "$model" "$gpt2" other="$gpt2" --corpus "$text" --languages en,th,tr
expect_status 0
expect_empty err
expect_in out "Tokenizers (means over languages)"
expect_in out "gpt2       th"
expect_in out "other      tr"
expect_in out "n_graphemes"
if awk 'length($0) > 100 { exit 1 }' out; then pass; else fail "a line is wider than 100 columns"; fi
run fertility "$model" "$gpt2" --corpus "$text" --json
expect_status 0
expect_json out
if python3 - out <<'EOF'
import json, sys
tables = json.load(open(sys.argv[1]))["tables"]
rows = {(r["tokenizer"], r["language"]): r for r in tables["fertility"]["rows"]}
assert len(rows) == 52
assert rows["model", "en"]["premium.ratio"] == 1 and rows["model", "en"]["n_tokens"] == 1645
assert rows["model", "th"]["share.whole_words"] is None and rows["model", "ko"]["share.whole_words"] > 0
assert rows["gpt2", "th"]["premium.low"] < rows["gpt2", "th"]["premium.ratio"] < rows["gpt2", "th"]["premium.high"]
EOF
then pass; else fail "the numbers are not those of the JSON"; fi
run fertility "$model" --corpus "$text" --pivot de --languages de,en --format csv
expect_status 0
expect_in out "model,de,2142,"
run fertility "$model" --corpus "$text" --pivot xx
expect_status 1
expect_in err "'xx'"
run fertility "$model" "$model" --corpus "$text"
expect_status 1
expect_in err "twice"
run fertility "$model"
expect_status 2
expect_in err "--corpus"
run fertility no/such/tokenizer --corpus "$text"
expect_status 1
expect_in err "no/such/tokenizer"
