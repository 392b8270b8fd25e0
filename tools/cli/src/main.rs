// SPDX-License-Identifier: GPL-2.0
//! `dmaplane`: what the module can do here, what its memory costs to reach, and KV caches from
//! host to host.

mod failure;
mod info;
mod kv;
mod numa;
mod size;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

const EXIT_CODES: &str = "\
Exit codes:
  0    done; every tensor equal
  1    a file here cannot be read or written
  2    wrong usage
  3    the device is missing, or the module refused
  4    the peer refused, is gone, or did not answer in time
  5    tensors arrived that differ from those sent
  6    the peer broke the protocol, or was refused here
  130  interrupted";

/// Moves KV caches between hosts through /dev/dmaplane
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the module's limits, RDMA devices and counters
    Info(info::Args),
    /// Measure memory bandwidth and latency from NUMA node to NUMA node
    #[command(after_help = EXIT_CODES)]
    Numa(numa::Args),
    /// Send and receive KV caches
    #[command(subcommand, after_help = EXIT_CODES)]
    Kv(kv::Command),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (json, result) = match &cli.command {
        Command::Info(args) => (args.json, info::execute(args)),
        Command::Numa(args) => (args.json, numa::execute(args)),
        Command::Kv(command) => (command.json(), command.execute()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure, json);
            failure.exit_code()
        }
    }
}

/// Tells people on stderr and, for `--json`, programs on stdout. A report that
/// has already told of a mismatch is not followed by a second object.
fn complain(failure: &Failure, json: bool) {
    eprintln!("dmaplane: {failure}");
    if json && !matches!(failure, Failure::Mismatch(..)) {
        let object = serde_json::json!({
            "ok": false,
            "exit": failure.code(),
            "error": failure.to_string(),
        });
        println!("{object}");
    }
}
