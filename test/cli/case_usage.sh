# Help goes to standard output with status 0; wrong usage to standard error with status 2.
run
expect_status 2
for args in help --help -h; do
    run $args
    expect_status 0
    expect_in out "diagnose"
    expect_empty err
done
run version
expect_status 0
expect_in out "qdisp 0.1.0"
for command in diagnose inspect census calibrate plan quantize eval fertility tokenize; do
    run $command --help
    expect_status 0
    expect_in out "Usage: qdisp $command"
    expect_in out "--threads"
    run help $command
    expect_status 0
    expect_in out "Usage: qdisp $command"
    run $command
    expect_status 2
    expect_empty out
    expect_in err "qdisp $command"
    run $command --no-such-option
    expect_status 2
    expect_in err "--no-such-option"
done
run nothing
expect_status 2
expect_in err "nothing"
run help nothing
expect_status 2
run census a b
expect_status 2
expect_in err "too many"
run diagnose "$model"
expect_status 2
expect_in err "--corpus"
run calibrate "$model" --corpus small_text
expect_status 2
expect_in err "--output"
run quantize "$model"
expect_status 2
run eval "$model"
expect_status 2
run census "$model" --threads -1
expect_status 2
run census "$model" --threads many
expect_status 2
run plan "$model" --group 5
expect_status 2
expect_in err "--group"
run plan "$model" --group wide
expect_status 2
