// SPDX-License-Identifier: GPL-2.0
//! Rows of the plan that cannot be measured yet.

/// Name, group, unit, what is to come first.
pub const MISSING: &[(&str, &str, &str, &str)] = &[
    (
        "pingpong.kernel.64",
        "latency",
        "us",
        "an answer from the completion's callback (P6)",
    ),
    (
        "oversubscribed.10min",
        "write",
        "MiB/s",
        "a run of ten minutes (P22)",
    ),
    (
        "write_imm.loss1",
        "write",
        "MiB/s",
        "two hosts with a cable in between (P23)",
    ),
    ("trace.off", "trace", "ratio", "tracepoints (P26)"),
    ("connect.pooled", "connect", "us", "pooled endpoints (P27)"),
    ("lease.1M", "write", "ratio", "LEASE_REVOKE (P29)"),
];
