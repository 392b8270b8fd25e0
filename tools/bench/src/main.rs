// SPDX-License-Identifier: GPL-2.0
//! Measures dmaplane side by side with what people would use instead.
//!
//! `guest` runs in the machine and prints samples; `report` makes tables and plots of
//! them; `arm` is our side of each pair. `scripts/bench.sh` puts them together.

mod arm;
mod cases;
mod guard;
mod guest;
mod perftest;
mod profile;
mod report;
mod sample;
mod stats;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "dmaplane-bench", about)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run cases in this machine and print samples as JSON lines
    Guest(guest::Guest),
    /// Tell which cases there are
    List(guest::List),
    /// Run one side of a case some times, and print the kernel's symbols
    Blocks(guest::Blocks),
    /// Show where instructions go, by symbol
    Profile(profile::Profile),
    /// Make a table, JSON and plots of samples
    Report(report::Report),
    /// Compare instructions with the numbers that are kept
    Guard(guard::Guard),
    /// Serve one side of a case: a block for each line of input
    #[command(subcommand)]
    Arm(arm::Arm),
}

fn main() -> ExitCode {
    let result = match Options::parse().command {
        Command::Guest(guest) => guest.run(),
        Command::List(list) => list.run(),
        Command::Blocks(blocks) => blocks.run(),
        Command::Profile(profile) => profile.run(),
        Command::Report(report) => report.run(),
        Command::Guard(guard) => guard.run(),
        Command::Arm(arm) => arm.serve(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dmaplane-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
