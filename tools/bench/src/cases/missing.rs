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
    ("buffer.64M.dmabuf", "buffer", "ms", "an export case (P14)"),
    ("buffer.64M.pool", "buffer", "ms", "recycled buffers (P15)"),
    ("views.10000", "buffer", "us", "views (P16)"),
    ("export.1000", "buffer", "us", "an export case (P17)"),
    ("buffer.64M.faults", "buffer", "1", "huge folios (P18)"),
    ("buffer.64M.sg", "buffer", "1", "an export case (P19)"),
    ("migrate.256M", "buffer", "MiB/s", "MIGRATE (P21)"),
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
