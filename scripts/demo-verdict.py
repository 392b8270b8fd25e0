#!/usr/bin/env python3
"""Compares what the demo's two machines left behind, and prints the verdict.

usage: demo-verdict.py DIR

Prints the receiver's table, then one line "demo: ok: ..." (exit status 0) or
"demo: failed: REASON" (exit status 1).
"""

import json
import pathlib
import sys


class Failed(Exception):
    """Something is not as it must be."""


def load(directory, name):
    """One JSON object that a machine wrote."""
    try:
        return json.loads((directory / name).read_text())
    except (OSError, ValueError) as error:
        raise Failed(f"{name}: {error}") from error


def verdict(directory):
    """The last line, or Failed."""
    sent = load(directory, "send.json")
    received = load(directory, "recv.json")
    undivided = load(directory, "undivided.json")
    divided = load(directory, "divided.json")

    print(f"{'tensor':<28}{'shape':<18}{'bytes':>10}  {'CRC sent':<10}{'CRC received':<14}")
    for check in received["checks"]:
        shape = "x".join(map(str, check["shape"]))
        print(f"{check['name']:<28}{shape:<18}{check['bytes']:>10}  "
              f"{check['crc32_sent']:<10}{check['crc32_received']:<14}")
    latency, stalls = sent["latency_us"], sent["credit_stalls"]
    print(f"latency per chunk: p50 {latency['p50']:.0f} us, p99 {latency['p99']:.0f} us; "
          f"credit stalls: {stalls['count']}, {stalls['seconds'] * 1e3:.1f} ms")
    for name, run in (("undivided:", undivided), ("divided:", divided)):
        tokens = " ".join(map(str, run["tokens"]))
        print(f"tokens, {name:<10} {tokens}")
        print(f"scores, {name:<10} CRC {run['scores_crc32']}")

    for name in ("layers", "chunks", "bytes", "tensors"):
        if sent[name] != received[name] or not sent[name]:
            raise Failed(f"{sent[name]} {name} sent, {received[name]} received")
    mismatched = sent["mismatched"] + received["mismatched"]
    if mismatched or not (sent["ok"] and received["ok"]):
        raise Failed(f"{mismatched} tensors differ")
    if not undivided["tokens"] or undivided["tokens"] != divided["tokens"]:
        raise Failed("the tokens differ from those of the undivided run")
    if undivided["scores_crc32"] != divided["scores_crc32"]:
        raise Failed("the tokens are equal, the scores they were chosen by are not")
    rnr = sum(int((directory / f"{role}.rnr").read_text()) for role in ("prefill", "decode"))
    if rnr:
        raise Failed(f"{rnr} RNR NAKs: the credits did not hold")
    for role in ("prefill", "decode"):
        splats = (directory / f"{role}.splats").read_text()
        if splats:
            raise Failed(f"the kernel complained on the {role} machine: {splats.splitlines()[0]}")

    return (f"{sent['layers']} layers, {sent['chunks']} chunks, {sent['bytes']} bytes, "
            f"{sent['mib_per_s']:.1f} MiB/s, {mismatched} mismatched, {rnr} RNR, "
            f"{len(divided['tokens'])} tokens equal")


def main():
    """Says how it went."""
    try:
        line = verdict(pathlib.Path(sys.argv[1]))
    except Failed as failure:
        print(f"demo: failed: {failure}")
        return 1
    except (KeyError, TypeError) as error:
        print(f"demo: failed: a machine's result lacks {error}")
        return 1
    print(f"demo: ok: {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
