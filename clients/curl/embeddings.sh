#!/bin/sh
# The embedding of each text: embeddings.sh "first text" "second text"
# Prints its length and first values. JURAT_EMBEDDER names another model than all-minilm-l6-v2.
. "$(dirname "$0")/_common.sh"

[ $# -ge 1 ] || usage '"text"...'
python3 -c '
import json, sys
json.dump({"model": sys.argv[1], "input": sys.argv[2:], "encoding_format": "float"}, sys.stdout)
' "${JURAT_EMBEDDER:-all-minilm-l6-v2}" "$@" >"$work/body"
post /v1/embeddings
python3 -c '
import json, sys
for item in json.load(open(sys.argv[1], encoding="utf-8"))["data"]:
    vector = item["embedding"]
    print(item["index"], len(vector), " ".join(f"{x:+.4f}" for x in vector[:6]), "...")
' "$work/answer"
