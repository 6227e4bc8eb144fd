# gptq: a plan that needs text when it is applied, weights of languages, and weights by measured losses.
run plan "$model" --method gptq --bits 3 --weights en:0.25,sw:0.75 --corpus small_text -o gptq.csv
expect_status 0
expect_empty err
expect_in gptq.csv "en:0.25,sw:0.75"
run quantize "$model" --plan gptq.csv -o gptq_out
expect_status 1
expect_in err "gptq needs text by language"
run quantize "$model" --plan gptq.csv --corpus small_text --languages en -o gptq_out
expect_status 1
expect_in err "en:0.25,sw:0.75"
run quantize "$model" --plan gptq.csv --corpus small_text --max-tokens 150 --threads 1 -o gptq_out
expect_status 0
expect_empty err
cp gptq_out/model.safetensors gptq.safetensors
rm -r gptq_out
run quantize "$model" --plan gptq.csv --corpus small_text --max-tokens 150 --threads 3 -o gptq_out
expect_same gptq_out/model.safetensors gptq.safetensors
rm -r gptq_out
run plan "$model" --method gptq --bits 2 --group channel --roles mlp.down --corpus small_text --dual 1 -o dual.csv
expect_status 0
expect_in dual.csv "en:0."
run plan "$model" --method gptq --dual 1
expect_status 2
expect_in err "--corpus"
run plan "$model" --method gptq --corpus small_text --dual 1 --dual-objective best
expect_status 1
expect_in err "best"
expect_no_leftovers
