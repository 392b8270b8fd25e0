// SPDX-License-Identifier: GPL-2.0
//! `dmaplane info`: the module's limits, RDMA devices and counters.

use std::io::Write;

use comfy_table::{presets::NOTHING, Table};
use dmaplane::{Context, Fabric, Info, Stats};
use serde_json::json;

use crate::failure::Failure;
use crate::size;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Runs it.
pub fn execute(args: &Args) -> Result<(), Failure> {
    let context = Context::open()?;
    let (info, fabrics, stats) = (context.info()?, context.fabrics()?, context.stats()?);
    let text = if args.json {
        as_json(&info, &fabrics, &stats).to_string()
    } else {
        for_people(&info, &fabrics, &stats)
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

fn as_json(info: &Info, fabrics: &[Fabric], stats: &Stats) -> serde_json::Value {
    json!({
        "ok": true,
        "abi": info.abi,
        "features": info.feature_names(),
        "page_size": info.page_size,
        "limits": {
            "buffer": info.max_buffer,
            "transfer": info.max_transfer,
            "objects": info.max_objects,
            "ring_entries": info.max_ring_entries,
            "depth": info.max_depth,
            "memory": info.max_memory,
            "context_memory": info.max_context_memory,
        },
        "nodes": info.nr_nodes,
        "fabrics": fabrics.iter().map(|f| json!({
            "fabric": f.id,
            "name": f.name,
            "node": f.node,
            "max_segment": f.max_segment,
            "active_mtu": f.active_mtu,
            "write_imm": f.write_imm,
        })).collect::<Vec<_>>(),
        "stats": {
            "buffers": stats.buffers,
            "regions": stats.regions,
            "endpoints": stats.endpoints,
            "channels": stats.channels,
            "buffer_bytes": stats.buffer_bytes,
            "submitted": stats.submitted,
            "completed": stats.completed,
            "received": stats.received,
        },
    })
}

fn for_people(info: &Info, fabrics: &[Fabric], stats: &Stats) -> String {
    let mut limits = Table::new();
    limits.load_preset(NOTHING);
    let mut row = |name: &str, value: String| {
        limits.add_row([name.to_owned(), value]);
    };
    row("ABI version", info.abi.to_string());
    row("features", info.feature_names().join(" "));
    row("page size", size::show(info.page_size.into()));
    row("NUMA nodes below", info.nr_nodes.to_string());
    row("largest buffer", size::show(info.max_buffer));
    row("largest transfer", size::show(info.max_transfer));
    row("largest ring", format!("{} entries", info.max_ring_entries));
    row("largest depth", info.max_depth.to_string());
    row("objects of a context", info.max_objects.to_string());
    let limit = |bytes: Option<u64>| bytes.map_or("no limit".to_owned(), size::show);
    row("memory of a context", limit(info.max_context_memory));
    row("memory of all", limit(info.max_memory));
    row(
        "in this context",
        format!(
            "{} buffers, {} regions, {} endpoints, {} channels",
            stats.buffers, stats.regions, stats.endpoints, stats.channels
        ),
    );

    let fabrics = if fabrics.is_empty() {
        "no RDMA device in this network namespace; for one in software:\n  \
         rdma link add rxe0 type rxe netdev IFACE"
            .to_owned()
    } else {
        let mut table = Table::new();
        table.load_preset(NOTHING);
        table.set_header(["fabric", "name", "node", "MTU", "largest key", "immediates"]);
        for f in fabrics {
            table.add_row([
                f.id.to_string(),
                f.name.clone(),
                f.node.map_or("-".to_owned(), |n| n.to_string()),
                f.active_mtu.map_or("down".to_owned(), |m| m.to_string()),
                size::show(f.max_segment),
                if f.write_imm { "yes" } else { "no" }.to_owned(),
            ]);
        }
        table.trim_fmt()
    };
    format!("{}\n\n{fabrics}", limits.trim_fmt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_tell_the_same() {
        let info = Info {
            abi: 1,
            page_size: 4096,
            features: 3,
            max_buffer: 1 << 30,
            max_transfer: 1 << 24,
            max_objects: 1024,
            max_ring_entries: 4096,
            max_depth: 512,
            nr_nodes: 1,
            max_memory: Some(1 << 34),
            max_context_memory: None,
        };
        let fabric = Fabric {
            id: 3,
            node: None,
            name: "rxe0".to_owned(),
            max_segment: 1 << 21,
            active_mtu: None,
            write_imm: true,
        };
        let stats = Stats {
            buffers: 0,
            regions: 0,
            endpoints: 0,
            channels: 0,
            buffer_bytes: 0,
            submitted: 0,
            completed: 0,
            received: 0,
        };
        let json = as_json(&info, std::slice::from_ref(&fabric), &stats);
        assert_eq!(json["fabrics"][0]["name"], "rxe0");
        assert_eq!(json["limits"]["depth"], 512);
        let text = for_people(&info, &[fabric], &stats);
        assert!(text.contains("rxe0") && text.contains("down"), "{text}");
        assert!(for_people(&info, &[], &stats).contains("rdma link add"));
    }
}
