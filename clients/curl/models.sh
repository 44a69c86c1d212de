#!/bin/sh
# The names that can be asked for, ensembles among them, one a line.
. "$(dirname "$0")/_common.sh"

get /v1/models
python3 -c '
import json, sys
for model in json.load(open(sys.argv[1], encoding="utf-8"))["data"]:
    print(model["id"])
' "$work/answer"
