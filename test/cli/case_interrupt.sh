# Ctrl-C: a message, a failing status, no file half-written.
mkdir interrupted
( # a background job of sh ignores SIGINT, which the program's own handler takes back
    exec "$qdisp" diagnose "$model" --corpus "$text" --json -o interrupted/report.json
) >out 2>err &
pid=$!
sleep 2
kill -INT $pid
wait $pid
status=$?
expect_status 1
expect_in err "cancelled"
if [ -z "$(ls -A interrupted)" ]; then pass; else fail "left: $(ls -A interrupted)"; fi
