// SPDX-License-Identifier: GPL-2.0
//! What perftest prints, as blocks. Its latencies are half round trips in microseconds, which
//! is one message; its "MB" are MiB.

use anyhow::{bail, Context as _, Result};

use crate::sample::{Block, MIB};

/// How long something may have taken, in nanoseconds: less than a century.
const LIKELY: std::ops::Range<f64> = 1.0..3e18;

/// The report of `ib_*_bw`: `bytes iterations BW_peak BW_average MsgRate`. `None` if that says
/// nothing: it measures the rate of its clock itself, and finds 0 MiB/s when that went wrong.
pub fn bandwidth(output: &str) -> Result<Option<Block>> {
    let line = columns(output, "BW average")?;
    let [bytes, iterations, _, average, ..] = line[..] else {
        bail!("too few columns: {line:?}");
    };
    let total = bytes * iterations;
    let ns = total / MIB / average * 1e9;
    let told = LIKELY.contains(&ns);
    Ok(told.then(|| Block {
        ops: iterations as u64,
        bytes: total as u64,
        ns: ns as u64,
        ..Block::default()
    }))
}

/// The report of `ib_*_lat`: `bytes iterations t_min t_max t_typical t_avg …`. As above.
pub fn latency(output: &str) -> Result<Option<Block>> {
    let line = columns(output, "t_avg")?;
    let [bytes, iterations, _, _, _, average, ..] = line[..] else {
        bail!("too few columns: {line:?}");
    };
    // As in ours: each round has two messages.
    let messages = 2.0 * iterations;
    let ns = average * 1e3 * messages;
    let told = LIKELY.contains(&ns);
    Ok(told.then(|| Block {
        ops: messages as u64,
        bytes: (bytes * messages) as u64,
        ns: ns as u64,
        each_ns: unsorted(output),
        ..Block::default()
    }))
}

/// The first line after the heading that has `title` which is nothing but numbers.
fn columns(output: &str, title: &str) -> Result<Vec<f64>> {
    let lines = output.lines().skip_while(|line| !line.contains(title));
    let mut numbers = lines.map(|line| -> Option<Vec<f64>> {
        line.split_whitespace()
            .map(|word| word.parse().ok())
            .collect()
    });
    let line = numbers.find_map(|line| line.filter(|numbers| !numbers.is_empty()));
    line.with_context(|| format!("no numbers under \"{title}\" in: {output}"))
}

/// What `-U` lists, one line each: `number, microseconds`.
fn unsorted(output: &str) -> Vec<u64> {
    let values = output.lines().filter_map(|line| {
        let (number, value) = line.split_once(',')?;
        number.trim().parse::<u64>().ok()?;
        value.trim().parse::<f64>().ok()
    });
    values.map(|us| (us * 1e3) as u64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Metric;

    #[test]
    fn bandwidth_is_in_mebibytes() {
        let output = "\
 #bytes     #iterations    BW peak[MiB/sec]    BW average[MiB/sec]   MsgRate[Mpps]
 65536      200              135.27             125.00 \t\t     0.002000
";
        let block = bandwidth(output).unwrap().unwrap();
        assert_eq!((block.ops, block.bytes), (200, 200 * 65536));
        assert_eq!(Metric::MibPerS.of(&block).unwrap().round(), 125.0);
        assert_eq!(block.ns, 100_000_000);
        for nothing in ["0.00", "inf", "nan", "-3"] {
            assert_eq!(bandwidth(&output.replace("125.00", nothing)).unwrap(), None);
        }
    }

    #[test]
    fn latency_is_of_one_message() {
        let output = "\
 #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec]    t_stdev[usec]   99% percentile[usec]   99.9% percentile[usec]
#, usec
1, 50.5
2, 45.0
 64      1000          45.00          90.00        47.00     \t       47.60        \t2.00\t\t60.00   \t\t90.00
";
        let block = latency(output).unwrap().unwrap();
        assert_eq!(Metric::UsPerOp.of(&block), Some(47.6));
        assert_eq!((block.ops, block.bytes), (2000, 128_000));
        assert_eq!(block.each_ns, [50_500, 45_000]);
        assert_eq!(latency(&output.replace("47.60", "0.00")).unwrap(), None);
    }

    #[test]
    fn what_it_did_not_print_is_an_error() {
        assert!(bandwidth("Couldn't connect to 10.0.0.1:18515\n").is_err());
        assert!(latency("t_avg\n").is_err());
        assert!(latency("t_avg\n 64 oops\n").is_err());
    }
}
