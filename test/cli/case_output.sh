# Outputs that cannot be written: the path, the system's reason, status 1, and nothing half-written.
run census "$model" -o no/such/folder/census.csv
expect_status 1
expect_in err "no/such/folder/census.csv"
mkdir taken
run census "$model" -o taken
expect_status 1
expect_in err "taken"
echo old >kept.csv
run plan "$model" --method rtn --bits 9 -o kept.csv
expect_status 1
expect_in kept.csv old
if [ -c /dev/full ]; then
    run census "$model" -o /dev/full
    expect_status 1
    expect_in err "/dev/full: No space left on device"
    if [ -c /dev/full ]; then pass; else fail "/dev/full was replaced"; fi
    for format in csv json; do # one within the buffer of standard output, one beyond
        "$qdisp" census "$model" --format $format >/dev/full 2>err
        status=$?
        expect_status 1
        expect_in err "No space left on device"
    done
else
    skip "there is no /dev/full"
fi
if [ "$(id -u)" != 0 ]; then
    mkdir locked
    chmod 500 locked
    run census "$model" -o locked/census.csv
    expect_status 1
    expect_in err "Permission denied"
else
    skip "root may write into read-only folders"
fi
mkdir small
if mount -t tmpfs -o size=64k tmpfs small 2>/dev/null; then
    head -c 60000 /dev/zero >small/filler
    echo old >small/census.csv
    run census "$model" --json -o small/census.csv
    expect_status 1
    expect_in err "No space left on device"
    expect_in small/census.csv old
    run plan "$model" --method rtn --bits 4 -o plan4.csv
    run quantize "$model" --plan plan4.csv -o small/quantized
    expect_status 1
    expect_in err "No space left on device"
    if [ -e small/quantized ]; then fail "small/quantized is left: $(ls -A small/quantized)"; else pass; fi
    expect_no_leftovers small
    umount small
else
    skip "a full file system: tmpfs cannot be mounted here"
fi
# a limit on the size of files stands for a full disk anywhere; sh counts in blocks of 512 bytes
run plan "$model" --method rtn --bits 4 -o plan4.csv
(trap '' XFSZ; ulimit -f 100 && exec "$qdisp" quantize "$model" --plan plan4.csv -o limited) >out 2>err
status=$?
expect_status 1
expect_in err "File too large"
if [ -e limited ]; then fail "limited is left: $(ls -A limited)"; else pass; fi
expect_no_leftovers
