# What fails says which file and why, with status 1.
run census no/such/model
expect_status 1
expect_in err "no/such/model"
expect_empty out
run diagnose "$model" --corpus no/such/text
expect_status 1
expect_in err "no/such/text"
run diagnose "$model" --corpus small_text --languages en,xx
expect_status 1
expect_in err "xx"
run diagnose "$model" --corpus small_text --tokenizer no/such/tokenizer
expect_status 1
expect_in err "no/such/tokenizer"
run diagnose "$model" --corpus small_text --bits 1
expect_status 1
expect_in err "bits"
run diagnose "$model" --corpus small_text --methods gpt-q
expect_status 1
expect_in err "gpt-q"
run plan "$model" --method rtn --bits 9
expect_status 1
expect_in err "9"
run plan "$model" --method rtn --bits 0
expect_status 1
run plan "$model" --method la-aciq
expect_status 1
expect_in err "calibrat"
run plan "$model" --method la-aciq --stats "$text/en.txt"
expect_status 1
expect_in err "en.txt"
run quantize "$model" --plan no/such/plan.csv -o folder
expect_status 1
expect_in err "no/such/plan.csv"
printf 'tensor,bits\nx,4\n' >bad.csv
run quantize "$model" --plan bad.csv -o folder
expect_status 1
expect_in err "group_size"
if [ -e folder ]; then fail "a folder was made"; else pass; fi
run census "$model" --isa sse9
expect_status 1
expect_in err "sse9"
run census "$model" --threads 5000
expect_status 1
run census "$model" --format xml
expect_status 1
expect_in err "xml"
mkdir bad_text
printf 'fine\nb\377d\n' >bad_text/en.txt
run eval "$model" --corpus bad_text
expect_status 1
expect_in err "en.txt"
mkdir uneven
printf 'a\nb\n' >uneven/en.txt
printf 'a\n' >uneven/sw.txt
run eval "$model" --corpus uneven
expect_status 1
expect_in err "sw.txt"
