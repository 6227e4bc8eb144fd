# The loss of one running text, and of the first lines of a corpus.
run eval "$model" --text "$text/en.txt" --window 64 --json
expect_status 0
expect_json out
expect_in err "tokens/s"
cp out first.json
run eval "$model" --text - --window 64 --json --quiet --threads 1 --isa c <"$text/en.txt"
expect_status 0
expect_empty err
if python3 - out first.json <<'EOF'
import json, math, sys
(a,), (b,) = (json.load(open(path))["rows"] for path in sys.argv[1:])
assert a["n_tokens"] == b["n_tokens"] == 1725 and a["n_windows"] == b["n_windows"] == 28 and a["n_bytes"] == 5194
assert math.isclose(a["nll_nats"], b["nll_nats"], rel_tol=1e-5)
assert math.isclose(a["perplexity"], math.exp(a["nll_nats"] / 1725), rel_tol=1e-12)
EOF
then pass; else fail "the numbers are not those of the JSON"; fi
run eval "$model" --text "$text/en.txt" --window 64 --min-context 33 --replace-first --limit 2 --format csv
expect_status 0
expect_in out "2,128,62,"
run eval "$model" --corpus "$text" --languages en,th --limit 2 --format csv
expect_status 0
expect_in out "th,1,150,55,"
if [ "$(wc -l <out)" = 5 ]; then pass; else fail "$(wc -l <out) lines, expected 5"; fi
for wrong in "" "--corpus $text --text $text/en.txt" "--text $text/en.txt --against $model" \
    "--text $text/en.txt --window -1"; do
    run eval "$model" $wrong
    expect_status 2
    expect_empty out
done
: >empty.txt
run eval "$model" --text empty.txt
expect_status 1
expect_in err "no tokens"
head -c 3000 "$model/model.safetensors" >binary.txt
run eval "$model" --text binary.txt
expect_status 1
expect_in err "UTF-8"
run eval "$model" --text "$text" # a folder
expect_status 1
expect_in err "$text"
run eval "$model" --text no/such/text
expect_status 1
expect_in err "no/such/text"
run eval "$model" --text "$text/en.txt" --window 2000000000
expect_status 1
expect_in err "window"
