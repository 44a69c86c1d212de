#!/bin/sh
# What the gateway says about itself. Needs no key.
. "$(dirname "$0")/_common.sh"

get /health
show_json "$work/answer"
