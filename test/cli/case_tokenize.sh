# A text's tokens: from a file or standard input, decoded again on request.
printf 'a b<pad>h\303\251\303\251' >words.txt
run tokenize "$model" --text words.txt
expect_status 0
expect_empty err
expect_in out "  3           3  <pad>"
cp out from_file
run tokenize "$model" --text - <words.txt
expect_status 0
expect_same out from_file
run tokenize "$model" --text words.txt --decode --json
expect_status 0
expect_json out
if python3 - out <<'EOF'
import json, sys
tables = json.load(open(sys.argv[1]))["tables"]
assert [r["id"] for r in tables["tokens"]["rows"]] == [68, 285, 3, 75, 324, 324]
assert [r["begin_byte"] for r in tables["tokens"]["rows"]] == [0, 1, 3, 8, 9, 11]
assert tables["decoded"]["rows"] == [{"same": 1, "text": "a b<pad>h\u00e9\u00e9"}]
EOF
then pass; else fail "the tokens are not those of the JSON"; fi
: >empty.txt
run tokenize "$model" --text empty.txt --format csv
expect_status 0
expect_in out "id,begin_byte,token"
run tokenize "$model"
expect_status 2
expect_in err "--text"
run tokenize "$model" --text no/such/text
expect_status 1
expect_in err "no/such/text"
printf 'b\377d' >bad.txt
run tokenize "$model" --text bad.txt
expect_status 1
expect_in err "qdisp: bad.txt: byte 0xFF at offset 1"
run eval "$model" --text bad.txt
expect_status 1
expect_in err "qdisp: bad.txt: byte 0xFF at offset 1"
# names of special tokens
run tokenize "$model" --text words.txt --special text --format csv
expect_status 0
if grep -q '^3,' out; then fail "<pad> is still a token"; else pass; fi
run tokenize "$model" --text words.txt -s parse
expect_same out from_file
run tokenize "$model" --text words.txt --special both
expect_status 2
expect_in err "neither parse nor text"
