# What is at a path: models, weights, tokenizers, and what is none of these.
run inspect "$model"
expect_status 0
expect_empty err
expect_in out "architecture        bloom"
expect_in out "bos_id              1 <s>"
if grep -q "word_embeddings" out; then fail "tensors are shown without --tensors"; else pass; fi
run inspect "$model" --tensors
expect_in out "transformer.word_embeddings.weight"
run inspect "$model" --json
expect_status 0
expect_json out
expect_in out "transformer.word_embeddings.weight"
run inspect "$root/test/golden/arch/qwen3_moe" --tensors
expect_in out "n_expert            "
expect_in out "mlp.router"
run inspect "$model/tokenizer.json"
expect_status 0
expect_in out "tokenizer  BPE"
run inspect "$model/model.safetensors" --metadata
expect_status 0
expect_in out "architecture"
expect_in out "safetensors"
for path in "$text" no/such/path "$text/en.txt" /dev/null; do
    run inspect "$path"
    expect_status 1
    expect_in err "$path"
    expect_empty out
done
head -c 100000 "$model/model.safetensors" >broken.safetensors
run inspect broken.safetensors
expect_status 1
expect_in err "broken.safetensors"
# a census names experts
run census "$root/test/golden/arch/mixtral" --json
expect_status 0
if python3 - out <<'EOF'
import json, sys
rows = json.load(open(sys.argv[1]))["rows"]
experts = [r for r in rows if r["expert"] is not None]
assert len(experts) == 24 and {r["expert"] for r in experts} == {0, 1, 2, 3}
assert all(f"experts.{r['expert']}." in r["tensor"] and r["role"].startswith("mlp.") for r in experts)
EOF
then pass; else fail "the census does not name experts"; fi
