#!/usr/bin/env bash
# The whole way, small, in a temporary folder: train on text that ships inside Python, export, verify, serve one
# answer, stop. Usage: training/demo.sh PYTHON   (make demo-train calls it)
set -euo pipefail
python=$1
work=$(mktemp -d)
server=
cleanup() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    [ -z "$server" ] || wait "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

step() { printf '\n== %s\n' "$*"; }

step "train: python -m training run training/recipes/builtin-tiny.yaml"
"$python" -m training run training/recipes/builtin-tiny.yaml store="$work/store" run_dir="$work/run" | tee "$work/out"
bundle=$(tail -n 1 "$work/out")

step "export: python -m export build $bundle"
"$python" -m export build "$bundle"

step "verify: python -m export verify $bundle"
"$python" -m export verify "$bundle" >"$work/verified" || { cat "$work/verified"; exit 1; }
echo "both graph sets answer as PyTorch does"

step "serve: python -m server --store $work/store"
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$python" -m server --store "$work/store" --port "$port" >"$work/log" 2>&1 &
server=$!
"$python" - "$port" "$server" <<'PYTHON' || { cat "$work/log"; exit 1; }
import json, os, sys, time, urllib.request

port, server = sys.argv[1:]
base = f"http://127.0.0.1:{port}"
for _ in range(300):
    os.kill(int(server), 0)  # an error here means that the server has ended
    try:
        urllib.request.urlopen(base + "/readyz")
        break
    except OSError:
        time.sleep(0.1)
body = {"prompt": "The ", "max_tokens": 120, "temperature": 0.5, "seed": 1}
print(f"POST {base}/v1/generate {json.dumps(body)}")
with urllib.request.urlopen(base + "/v1/generate", json.dumps(body).encode()) as answer:
    print(json.dumps(json.load(answer), indent=1))
PYTHON

step "stop"
kill "$server"
wait "$server"
server=
echo "stopped; nothing of this is kept"
