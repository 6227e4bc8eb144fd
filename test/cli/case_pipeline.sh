# census, calibrate, plan, quantize and eval, as a user chains them.
run census "$model"
expect_status 0
expect_in out "attn.qkv"
expect_empty err # no progress bar and no noise where standard error is no terminal
run census "$model" --json
expect_status 0
expect_json out
run census "$model" --isa c --threads 1 --format csv
cp out census.csv
run census "$model" --threads 3 --format csv
expect_same out census.csv
run calibrate "$model" --corpus small_text -o stats
expect_status 0
expect_in out "sw"
expect_empty err
run calibrate "$model" --corpus small_text -o stats_gradients --gradients --format csv
expect_status 0
expect_in out "n_gradients"
expect_empty err
run plan "$model" --stats stats_gradients --bits 3 --group channel -o plan_gradients.csv
expect_status 0
run plan "$model" --stats stats_gradients --method rtn --bpw 4.5 --bits 2,3,4,6,8 -o allocated.csv
expect_status 0
expect_in out "predicted_bpb"
expect_in allocated.csv "rtn"
run plan "$model" --stats stats_gradients --method rtn --bpw 4.5 --bits 2,4,8 --objective disparity --cap 0.01 --json
expect_status 0
expect_json out
run plan "$model" --stats stats --method rtn --size 1k
expect_status 1
expect_in err "least possible"
run plan "$model" --stats stats --method rtn --size much
expect_status 2
run plan "$model" --bits 3,4
expect_status 2
run superweights "$model" --count 2 -o keep.csv
expect_status 0
expect_in keep.csv "sigmas"
run superweights "$model" --corpus small_text --count 1 --resamples 100 --json
expect_status 0
expect_json out
expect_in out "worst_bpb"
run plan "$model" --method rtn --bits 3 --keep keep.csv -o kept.csv
expect_status 0
expect_in kept.csv ":"
run plan "$model" --method rtn --keep nothing.csv
expect_status 1
expect_in err "nothing.csv"
run plan "$model" --stats stats --bits 3 --group channel -o plan.csv
expect_status 0
expect_empty out
expect_in plan.csv "la-aciq"
run plan "$model" --method rtn --bits 3 --json
expect_status 0
expect_json out
run plan "$model" --method rtn --bits 3 --format json -o plan.json
expect_status 0
expect_json plan.json
run quantize "$model" --plan plan.csv -o quantized
expect_status 0
expect_empty err
for file in config.json model.safetensors tokenizer.json; do
    if [ -s "quantized/$file" ]; then pass; else fail "quantized/$file is missing"; fi
done
cp quantized/model.safetensors first.safetensors
rm -r quantized
run quantize "$model" --plan plan.csv -o quantized --threads 1 --isa c
expect_same quantized/model.safetensors first.safetensors
run quantize "$model" --plan plan.csv -o quantized
expect_status 1
expect_in err "quantized"
expect_same quantized/model.safetensors first.safetensors
run quantize "$model" --plan plan.csv --format compressed-tensors -o packed
expect_status 0
expect_in packed/config.json "pack-quantized"
run eval packed --corpus small_text --format csv
expect_status 0
run quantize "$model" --plan plan.csv --format gptqq -o unknown
expect_status 1
expect_in err "use one of folder"
mkdir killed.partial
run quantize "$model" --plan plan.csv --format compressed-tensors -o killed
expect_status 1
expect_in err "killed.partial: there already"
rmdir killed.partial
run eval quantized --corpus small_text --against "$model" --json
expect_status 0
expect_json out
expect_in out "loss_bpb"
run eval "$model" --corpus small_text --format csv
expect_status 0
expect_in out "nll_nats"
run diagnose "$model" --corpus small_text --methods rtn,la-aciq --bits 3 --resamples 100 --json
expect_status 0
expect_json out
expect_empty err
for table in languages losses quantizers prediction; do expect_in out "\"$table\""; done
run diagnose "$model" --corpus small_text --methods rtn --bits 3 --resamples 100
expect_status 0
expect_in out "rtn3"
expect_no_leftovers

# importance matrices and override lists
run imatrix "$model" --stats stats -o im.gguf
expect_status 0
expect_empty err
expect_in im.gguf "qdisp.calibration.languages"
run imatrix "$model" --stats stats --weights sw:1 -o im.dat
expect_status 0
run imatrix "$model" --import im.dat --language sw -o imported
expect_status 0
run plan "$model" --stats imported --bits 3 -o plan_imported.csv
expect_status 0
run imatrix "$model" --import plan.csv -o bad
expect_status 1
expect_in err "plan.csv"
run imatrix "$model" --stats stats --import im.dat -o bad
expect_status 2
run plan "$model" --method rtn --bits 3 --overrides llama-quantize
expect_status 0
expect_in out 'attn_qkv\.weight$=q3_K'
run plan "$model" --method rtn --bits 3 --overrides gptqmodel -o dynamic.json
expect_status 0
expect_json dynamic.json
run plan "$model" --method rtn --overrides nothing
expect_status 1
expect_in err "auto-round"
run plan "$model" --method rtn --type q4_q
expect_status 1
expect_in err "q4_k"
