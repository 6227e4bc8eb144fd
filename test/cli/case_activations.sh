# activations: chosen by language, and what they cost under eval.
run activations "$model" --corpus small_text --bits 8 -o thresholds.csv
expect_status 0
expect_empty out
expect_in thresholds.csv '*,'
run eval "$model" --corpus small_text --against "$model" --activations thresholds.csv --format csv
expect_status 0
run eval "$model" --corpus small_text --against "$model" --activations thresholds.csv --shared --format csv
expect_status 0
run calibrate "$model" --corpus small_text -o smooth_stats
run plan "$model" --stats smooth_stats --method smoothquant --bits 8 --group channel -o smooth.csv
expect_status 0
expect_in smooth.csv "migration 0.50"
run quantize "$model" --plan smooth.csv -o smoothed
run activations "$model" --corpus small_text --plan smooth.csv --bits 8 -o smooth_thresholds.csv
expect_status 0
run eval smoothed --corpus small_text --against "$model" --activations smooth_thresholds.csv --plan smooth.csv
expect_status 0
expect_in out "loss_bpb"
run activations "$model" --corpus small_text --bits 9
expect_status 1
expect_in err "bits: 9"
