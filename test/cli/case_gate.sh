# gate: the exit status is the verdict, 3 an error.
run plan "$model" --method rtn --bits 8 -o plan8.csv
run plan "$model" --method rtn --bits 2 --group tensor -o plan2.csv
run quantize "$model" --plan plan8.csv -o close
run quantize "$model" --plan plan2.csv -o far
run gate "$model" close --corpus small_text --margin 0.5
expect_status 0
expect_in out "pass"
expect_empty err
run gate "$model" far --corpus small_text --margin 0.05 --json
expect_status 1
expect_json out
expect_in out '"verdict": "fail"'
run gate "$model" far --corpus small_text --margin 0.05 --format junit -o gate.xml
expect_status 1
expect_empty out
expect_in gate.xml "<failure message"
run gate "$model" close --corpus small_text --margin 0.000001
expect_status 2
expect_in out "undecided"
run gate "$model" close --corpus small_text
expect_status 3
expect_in err "margin"
run gate "$model" nowhere --corpus small_text --margin 1
expect_status 3
expect_in err "nowhere"
run gate "$model" --corpus small_text --margin 1
expect_status 3
