// SPDX-License-Identifier: GPL-2.0
//! Inputs: byte strings that actions are made of. Without coverage they are fresh
//! ones; with it, those that reached something new are kept and changed.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use rand::Rng;

pub const MAX_INPUT: usize = 1024;
const MAX_KEPT: usize = 4096;

#[derive(Default)]
pub struct Corpus {
    kept: Mutex<Vec<Vec<u8>>>,
}

impl Corpus {
    /// With what earlier runs kept in a directory.
    pub fn load(dir: &Path) -> std::io::Result<Self> {
        let mut paths: Vec<_> =
            fs::read_dir(dir)?.map(|e| Ok(e?.path())).collect::<std::io::Result<_>>()?;
        paths.sort();
        let kept = paths.iter().map(fs::read).collect::<Result<_, _>>()?;
        Ok(Self { kept: Mutex::new(kept) })
    }

    pub fn save(&self, dir: &Path) -> std::io::Result<()> {
        fs::create_dir_all(dir)?;
        for (number, input) in self.lock().iter().enumerate() {
            fs::write(dir.join(format!("{number:04}")), input)?;
        }
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Keeps an input.
    pub fn keep(&self, input: &[u8]) {
        let mut kept = self.lock();
        if kept.len() < MAX_KEPT {
            kept.push(input.to_vec());
        }
    }

    /// The next input to try.
    pub fn next(&self, rng: &mut impl Rng) -> Vec<u8> {
        let base = {
            let kept = self.lock();
            if kept.is_empty() || rng.random_ratio(3, 10) {
                None
            } else {
                // The newest ones are the most promising.
                let back = rng.random_range(0..kept.len()).min(rng.random_range(0..kept.len()));
                let other = kept[rng.random_range(0..kept.len())].clone();
                Some((kept[kept.len() - 1 - back].clone(), other))
            }
        };
        match base {
            None => fresh(rng),
            Some((base, other)) => mutate(rng, base, &other),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.kept.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Bytes without any model.
pub fn fresh(rng: &mut impl Rng) -> Vec<u8> {
    let mut input = vec![0; rng.random_range(64..=MAX_INPUT / 2)];
    rng.fill(&mut input[..]);
    input
}

fn mutate(rng: &mut impl Rng, mut input: Vec<u8>, other: &[u8]) -> Vec<u8> {
    for _ in 0..rng.random_range(1..=4) {
        if input.is_empty() {
            return fresh(rng);
        }
        let at = rng.random_range(0..input.len());
        match rng.random_range(0..7) {
            0 => input[at] = rng.random(),
            1 => input[at] ^= 1 << rng.random_range(0..8),
            2 => input[at] = [0, 1, 0x7f, 0x80, 0xff][rng.random_range(0..5)],
            // The rest anew.
            3 => {
                input.truncate(at);
                input.extend(fresh(rng));
            }
            // The rest from another.
            4 => {
                input.truncate(at);
                input.extend_from_slice(
                    &other[rng.random_range(0..other.len().max(1)).min(other.len())..],
                );
            }
            // Some once more.
            5 => {
                let some = input[at..(at + 48).min(input.len())].to_vec();
                input.splice(at..at, some);
            }
            _ => {
                let end = (at + rng.random_range(1..=16)).min(input.len());
                input.drain(at..end);
            }
        }
    }
    input.truncate(MAX_INPUT);
    input
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn a_seed_says_all() {
        let run = |seed| {
            let (corpus, mut rng) = (Corpus::default(), ChaCha8Rng::seed_from_u64(seed));
            for _ in 0..200 {
                let input = corpus.next(&mut rng);
                assert!(input.len() <= MAX_INPUT);
                corpus.keep(&input);
            }
            let kept = corpus.lock().clone();
            kept
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn kept_inputs_come_back() {
        let dir = std::env::temp_dir().join(format!("dmaplane-fuzz-{}", std::process::id()));
        let corpus = Corpus::default();
        corpus.keep(b"one");
        corpus.keep(b"two");
        corpus.save(&dir).unwrap();
        assert_eq!(*Corpus::load(&dir).unwrap().lock(), [b"one", b"two"]);
        fs::remove_dir_all(&dir).unwrap();
    }
}
