// SPDX-License-Identifier: GPL-2.0
//! `kvdemo`: a small transformer with a KV cache worth moving.
//!
//! `prefill` reads a prompt and writes the cache, `decode` continues from a
//! cache, `run` does both in one process. Where `decode` follows `prefill` on
//! another host, its output must equal that of `run`, to the bit.

mod cache;
mod math;
mod model;
mod run;

use std::{
    fs,
    io::{IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{ensure, Context, Result};
use clap::{Args, Parser, Subcommand};

use cache::{Cache, State};

/// A small deterministic transformer, to have a real KV cache to move.
///
/// Prints one line of JSON: the tokens generated and a CRC of all scores.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compute the KV cache of a prompt and write it as safetensors
    Prefill {
        #[command(flatten)]
        prompt: Prompt,
        /// The file to write
        #[arg(long, value_name = "FILE")]
        cache: PathBuf,
    },
    /// Generate tokens from a cache
    Decode {
        /// The file that `prefill` wrote
        #[arg(long, value_name = "FILE")]
        cache: PathBuf,
        /// How many tokens to generate
        #[arg(long, value_name = "N", default_value_t = 32)]
        tokens: usize,
    },
    /// Prefill and decode in one process
    Run {
        #[command(flatten)]
        prompt: Prompt,
        /// How many tokens to generate
        #[arg(long, value_name = "N", default_value_t = 32)]
        tokens: usize,
        /// Also write the cache as `prefill` would
        #[arg(long, value_name = "FILE")]
        cache: Option<PathBuf>,
    },
}

#[derive(Args)]
struct Prompt {
    /// The text, taken byte by byte
    #[arg(long, value_name = "FILE")]
    prompt: PathBuf,
    /// Take this many bytes of it at most
    #[arg(long, value_name = "N", default_value_t = 512)]
    max_tokens_prompt: usize,
    /// Seed of the weights
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

impl Prompt {
    fn prefill(&self) -> Result<(Cache, State)> {
        let text = fs::read(&self.prompt)
            .with_context(|| format!("cannot read the prompt {}", self.prompt.display()))?;
        ensure!(
            !text.is_empty() && self.max_tokens_prompt > 0,
            "the prompt {} is empty: give a file with text in it",
            self.prompt.display()
        );
        let tokens = run::tokenize(&text, self.max_tokens_prompt);
        let all = tokens.len() - 1;
        let shown = std::io::stderr().is_terminal();
        let filled = run::prefill(self.seed, &tokens, |done| {
            if shown && (done % 16 == 0 || done == all) {
                eprint!("\rprefill: {done} of {all} positions");
            }
        });
        if shown {
            eprintln!();
        }
        Ok(filled)
    }
}

fn print(line: &impl serde::Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, line)?;
    writeln!(out).context("cannot write the output")
}

fn execute(command: Command) -> Result<()> {
    match command {
        Command::Prefill {
            prompt,
            cache: path,
        } => {
            let (cache, state) = prompt.prefill()?;
            cache.save(&state, &path)?;
            print(&state)
        }
        Command::Decode { cache, tokens } => {
            let (cache, state) = Cache::load(&cache)?;
            print(&run::decode(cache, &state, tokens))
        }
        Command::Run {
            prompt,
            tokens,
            cache: path,
        } => {
            let (cache, state) = prompt.prefill()?;
            if let Some(path) = path {
                cache.save(&state, &path)?;
            }
            print(&run::decode(cache, &state, tokens))
        }
    }
}

fn main() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kvdemo: {error:#}");
            ExitCode::FAILURE
        }
    }
}
