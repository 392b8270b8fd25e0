// SPDX-License-Identifier: GPL-2.0
//! In the machine: runs both arms of each case, interleaved, and prints samples.

use std::{
    fs,
    io::{BufRead, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{bail, ensure, Context as _, Result};
use clap::Args;

use crate::{
    cases::{self, Arm, Case, Perftest, ADDRESS},
    perftest,
    sample::{Block, Mode, Sample, Side},
};

/// What to run.
#[derive(Debug, Args)]
pub struct Guest {
    /// icount or wall
    #[arg(long, value_parser = mode)]
    mode: Mode,
    /// Pairs for each case
    #[arg(long, default_value_t = 7)]
    pairs: u32,
    /// Number of this boot
    #[arg(long, default_value_t = 1)]
    seed: u32,
    /// Only cases of these groups or names, or whose names begin so before a dot
    #[arg(long)]
    only: Vec<String>,
    /// Only cases that are measured in such a machine: plain, large, smp, numa or words
    #[arg(long, default_value = "plain")]
    machine: String,
    /// For how many seconds what is beside a case works before it
    #[arg(long, default_value_t = 5)]
    before: u64,
    /// Only our side, of the cases that `guard` looks at
    #[arg(long)]
    guard: bool,
}

/// By its name.
pub fn mode(text: &str) -> Result<Mode> {
    match text {
        "icount" => Ok(Mode::Icount),
        "wall" => Ok(Mode::Wall),
        _ => bail!("there is icount and wall"),
    }
}

/// Which cases there are.
#[derive(Debug, Args)]
pub struct List {
    /// icount or wall
    #[arg(long, value_parser = mode)]
    mode: Option<Mode>,
    /// plain, large, smp, numa or words
    #[arg(long)]
    machine: Option<String>,
    /// As of `guest`
    #[arg(long)]
    only: Vec<String>,
}

impl List {
    /// Prints a line for each: name, group, mode, machine. In whichever mode, what cannot be
    /// measured yet is listed as well.
    pub fn run(&self) -> Result<()> {
        for case in cases::all() {
            let (mode, machine) = (case.mode, case.machine.name());
            if cases::needed(&self.only, &case)
                && self.mode.is_none_or(|wanted| wanted == mode)
                && self
                    .machine
                    .as_deref()
                    .is_none_or(|wanted| wanted == machine)
            {
                println!("{} {} {} {machine}", case.name, case.group, mode.name());
            }
        }
        let missing = cases::MISSING.iter().filter(|_| self.mode.is_none());
        for (name, group, ..) in missing {
            if cases::wanted(&self.only, name, group) {
                println!("{name} {group} missing");
            }
        }
        Ok(())
    }
}

impl Guest {
    /// Runs the cases; those that cannot be run are told on stderr, and fail in the end.
    pub fn run(&self) -> Result<()> {
        let wanted = |case: &Case| match self.guard {
            true => cases::GUARD.contains(&case.name.as_str()),
            false => cases::needed(&self.only, case),
        };
        let cases: Vec<Case> = cases::all()
            .into_iter()
            .filter(|case| case.mode == self.mode && case.machine.name() == self.machine)
            .filter(wanted)
            .collect();
        let mut failed = 0;
        for (i, case) in cases.iter().enumerate() {
            eprintln!("bench: {}/{} {}", i + 1, cases.len(), case.name);
            if let Err(error) = self.run_case(case) {
                eprintln!("bench: FAILED {}: {error:#}", case.name);
                failed += 1;
            }
        }
        ensure!(failed == 0, "{failed} cases failed");
        Ok(())
    }

    fn run_case(&self, case: &Case) -> Result<()> {
        // It goes on until the last pair.
        let _beside = match case.beside {
            Some(program) => Some(Running::serving(&[
                program.into(),
                self.before.to_string(),
            ])?),
            None => None,
        };
        let mut arms = vec![];
        for (side, arm) in [(Side::Ours, &case.ours), (Side::Theirs, &case.theirs)] {
            let wanted = side == Side::Ours || !self.guard;
            if wanted && !matches!(arm, Arm::None) {
                arms.push((
                    side,
                    Running::start(arm).with_context(|| format!("{side:?}"))?,
                ));
            }
        }
        // The data is looked at in a block of its own, and another one warms up. By the clock there
        // are many boots, and one look is enough.
        let before: &[&str] = match (self.mode, self.seed) {
            (Mode::Wall, 2..) => &["go"],
            _ => &["verify", "go"],
        };
        for line in before {
            for (side, arm) in &mut arms {
                arm.block(line).with_context(|| format!("{side:?}"))?;
            }
        }
        // Who begins takes turns, too.
        if self.seed % 2 == 0 {
            arms.reverse();
        }
        for pair in 0..case.pairs(self.pairs) {
            // A-B-B-A
            for (side, arm) in &mut arms {
                let side = *side;
                let block = arm.block("go").with_context(|| format!("{side:?}"))?;
                let sample = Sample {
                    case: case.name.clone(),
                    mode: self.mode,
                    seed: self.seed,
                    pair,
                    side,
                    block,
                };
                println!("{}", serde_json::to_string(&sample)?);
            }
            arms.reverse();
        }
        Ok(())
    }
}

/// Blocks of one side of a case, for a profile of the machine.
#[derive(Debug, Args)]
pub struct Blocks {
    /// Name of the case
    case: String,
    #[arg(value_parser = side)]
    side: Side,
    count: u32,
}

fn side(text: &str) -> Result<Side> {
    match text {
        "ours" => Ok(Side::Ours),
        "theirs" => Ok(Side::Theirs),
        _ => bail!("there is ours and theirs"),
    }
}

impl Blocks {
    /// Prints the last block, and the kernel's symbols.
    pub fn run(&self) -> Result<()> {
        let mut cases = cases::all().into_iter();
        let case = cases.find(|case| case.mode == Mode::Icount && case.name == self.case);
        let case = case.with_context(|| format!("there is no case {}", self.case))?;
        ensure!(
            case.beside.is_none(),
            "what is beside it would be in its profile"
        );
        let mut arm = Running::start(match self.side {
            Side::Ours => &case.ours,
            Side::Theirs => &case.theirs,
        })?;
        let mut last = Block::default();
        for _ in 0..self.count {
            last = arm.block("go")?;
        }
        println!("{}", serde_json::to_string(&last)?);
        print!("{}", fs::read_to_string("/proc/kallsyms")?);
        Ok(())
    }
}

/// An arm that is there.
enum Running<'a> {
    Serving {
        child: Child,
        orders: ChildStdin,
        answers: BufReader<ChildStdout>,
    },
    Perftest(&'a [String], Perftest),
}

impl<'a> Running<'a> {
    fn start(arm: &'a Arm) -> Result<Self> {
        match arm {
            Arm::Perftest(command, report) => Ok(Running::Perftest(command, *report)),
            Arm::Serve(command) => Self::serving(command),
            Arm::None => bail!("there is no such side"),
        }
    }

    fn serving(command: &[String]) -> Result<Self> {
        let mut child = start(command, &[])?;
        let (orders, answers) = (child.stdin.take(), child.stdout.take());
        let (Some(orders), Some(answers)) = (orders, answers) else {
            bail!("no pipes");
        };
        let mut running = Running::Serving {
            child,
            orders,
            answers: BufReader::new(answers),
        };
        ensure!(running.line()? == "ready", "it is not ready");
        Ok(running)
    }

    fn line(&mut self) -> Result<String> {
        let Running::Serving { answers, .. } = self else {
            bail!("it has no lines");
        };
        let mut line = String::new();
        ensure!(answers.read_line(&mut line)? > 0, "it ended");
        Ok(line.trim_end().to_owned())
    }

    fn block(&mut self, order: &str) -> Result<Block> {
        let idle = idle_ns()?;
        let begin = std::time::Instant::now();
        let mut block: Block = match self {
            Running::Serving { orders, .. } => {
                orders.write_all(format!("{order}\n").as_bytes())?;
                let line = self.line()?;
                serde_json::from_str(&line).with_context(|| line.clone())?
            }
            Running::Perftest(command, report) => run_perftest(command, *report)?,
        };
        if matches!(self, Running::Serving { .. }) {
            let cpus = thread::available_parallelism()?.get() as u64;
            let all = begin.elapsed().as_nanos() as u64 * cpus;
            block.busy_ns = all.saturating_sub(idle_ns()?.saturating_sub(idle));
        }
        Ok(block)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Running::Serving { child, .. } = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn start(command: &[String], more: &[&str]) -> Result<Child> {
    let (program, arguments) = command.split_first().context("no program")?;
    Command::new(program)
        .args(arguments)
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}"))
}

/// What it measures, in the first run of three that says so.
fn run_perftest(command: &[String], report: Perftest) -> Result<Block> {
    for _ in 0..3 {
        let said = perftest_says(command)?;
        let block = match report {
            Perftest::Bandwidth => perftest::bandwidth(&said)?,
            Perftest::Latency => perftest::latency(&said)?,
        };
        if let Some(block) = block {
            return Ok(block);
        }
        eprintln!("bench: {} told nothing: again", command.join(" "));
    }
    bail!("{command:?} told nothing three times")
}

/// A server and a client on this machine.
fn perftest_says(command: &[String]) -> Result<String> {
    let mut server = Server(start(command, &[])?);
    // It listens on a TCP port, soon.
    let mut tries = 0;
    while !listens(18515)? {
        tries += 1;
        ensure!(tries < 1000, "its server does not listen");
        thread::sleep(Duration::from_millis(5));
    }
    let client = start(command, &[ADDRESS])?.wait_with_output()?;
    let served = server.0.wait()?;
    let said = String::from_utf8_lossy(&client.stdout).into_owned();
    ensure!(
        client.status.success() && served.success(),
        "{command:?}: {said}"
    );
    Ok(said)
}

/// Whatever happens, the next one finds its port free.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether somebody listens on a TCP port; connecting would be noticed.
fn listens(port: u16) -> Result<bool> {
    const LISTEN: &str = "0A";
    let port = format!(":{port:04X}");
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let Ok(table) = fs::read_to_string(table) else {
            continue;
        };
        let found = table.lines().any(|line| {
            let mut words = line.split_whitespace().skip(1);
            words.next().is_some_and(|local| local.ends_with(&port)) && words.nth(1) == Some(LISTEN)
        });
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Idle time of all processors so far: `cpu user nice system idle iowait …` in 1/100 s.
fn idle_ns() -> Result<u64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let mut words = line.split_whitespace().skip(4);
    let mut take = || -> Result<u64> { Ok(words.next().context("/proc/stat is short")?.parse()?) };
    Ok((take()? + take()?) * 10_000_000)
}
