// SPDX-License-Identifier: GPL-2.0
//! The parts of actions: what to use, how to call a command. Which share of all bytes is odd is
//! decided here.

use arbitrary::{Arbitrary, Result, Unstructured};

use crate::memory::PAGE;

/// Which context: the thread's own, or one that all threads use.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub struct Where(pub u8);

impl Where {
    /// `None` for the thread's own, else a number.
    pub fn shared(self) -> Option<usize> {
        (self.0 >= 144).then_some(usize::from(self.0))
    }
}

/// A handle, as a rule of a live object of the right kind.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub struct Pick {
    how: u8,
    pub index: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    Right,
    OtherKind,
    Stale,
    Mutated,
    Foreign,
    Boundary,
}

impl Pick {
    /// A live object of the right kind.
    pub fn nth(index: u8) -> Self {
        Self { how: 0, index }
    }

    pub fn choice(self) -> Choice {
        match self.how {
            0..=219 => Choice::Right,
            220..=227 => Choice::OtherKind,
            228..=235 => Choice::Stale,
            236..=241 => Choice::Mutated,
            242..=247 => Choice::Foreign,
            _ => Choice::Boundary,
        }
    }
}

/// A number, as a rule near where something changes.
#[derive(Clone, Copy, Debug)]
pub struct Value(pub u64);

const EDGES: &[u64] = &[
    0,
    1,
    2,
    63,
    64,
    255,
    PAGE as u64 - 1,
    PAGE as u64,
    PAGE as u64 + 1,
    0xffff,
    1 << 16,
    i32::MAX as u64,
    1 << 31,
    u32::MAX as u64,
    1 << 32,
    1 << 39,
    (1 << 39) + 1,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - PAGE as u64,
    u64::MAX - 1,
    u64::MAX,
];

impl<'a> Arbitrary<'a> for Value {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let how: u8 = u.arbitrary()?;
        Ok(Self(match EDGES.get(usize::from(how % 32)) {
            Some(edge) => *edge,
            None => u.arbitrary()?,
        }))
    }
}

/// One member of an argument overwritten, now and then.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub struct Twist {
    how: u8,
    at: u8,
    value: Value,
    /// What must stay as it is: pointers, of which the kernel writes where they say.
    #[arbitrary(value = (0, 0))]
    spared: (usize, usize),
}

impl Twist {
    pub const NONE: Self = Self { how: 0, at: 0, value: Value(0), spared: (0, 0) };

    /// The same, but for these bytes.
    pub fn sparing(self, from: usize, to: usize) -> Self {
        Self { spared: (from, to), ..self }
    }

    /// Changes the bytes of a struct from `first` on.
    pub fn apply(self, bytes: &mut [u8], first: usize) {
        if self.how < 232 || bytes.len() < first + 4 {
            return;
        }
        let words = (bytes.len() - first) / 4;
        let at = first + usize::from(self.at) % words * 4;
        let width = if self.how % 2 == 0 { 4 } else { 8 };
        let end = (at + width).min(bytes.len());
        if at < self.spared.1 && end > self.spared.0 {
            return;
        }
        bytes[at..end].copy_from_slice(&self.value.0.to_ne_bytes()[..end - at]);
    }
}

/// How large the argument says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Exact,
    Smaller,
    Zeroes,
    Garbage,
    Page,
    Beyond,
    Huge,
}

/// Where the argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In memory of this thread.
    Own,
    /// In memory that cannot be written.
    ReadOnly,
    /// The end is in memory that is not there.
    Straddling,
    Null,
    Kernel,
    NonCanonical,
    Unmapped,
    /// In memory that other threads write to meanwhile.
    Contended,
    /// In the rings of a channel.
    Ring,
}

impl Place {
    /// Whether others may write there meanwhile.
    pub fn is_contended(self) -> bool {
        matches!(self, Self::Contended | Self::Ring)
    }
}

/// How a command is called.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub struct Call {
    pub context: Where,
    size: u8,
    place: u8,
    pub extra: u8,
    pub twist: Twist,
}

impl Call {
    /// The same, but for a twist of these bytes.
    pub fn sparing(self, from: usize, to: usize) -> Self {
        Self { twist: self.twist.sparing(from, to), ..self }
    }

    /// As it should be.
    pub fn plain(context: Where) -> Self {
        Self { context, size: 0, place: 0, extra: 0, twist: Twist::NONE }
    }

    pub fn size(&self) -> Size {
        match self.size {
            0..=223 => Size::Exact,
            224..=231 => Size::Zeroes,
            232..=237 => Size::Smaller,
            238..=243 => Size::Garbage,
            244..=247 => Size::Page,
            248..=251 => Size::Beyond,
            _ => Size::Huge,
        }
    }

    pub fn place(&self) -> Place {
        match self.place {
            0..=207 => Place::Own,
            208..=223 => Place::Contended,
            224..=231 => Place::Ring,
            232..=235 => Place::ReadOnly,
            236..=243 => Place::Straddling,
            244..=246 => Place::Null,
            247..=249 => Place::Kernel,
            250..=252 => Place::NonCanonical,
            _ => Place::Unmapped,
        }
    }
}

/// How long a call may wait: never long, but now and then until a signal comes.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub struct Wait(pub u8);

impl Wait {
    pub fn ns(self) -> u64 {
        match self.0 {
            0..=95 => 0,
            96..=159 => 1_000_000,
            160..=223 => 5_000_000,
            224..=245 => 20_000_000,
            246..=253 => 100_000_000,
            _ => u64::MAX,
        }
    }
}

/// An address, as a rule one where somebody listens.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub struct Address {
    pub how: u8,
    pub index: u8,
}

/// What ACCEPT and CONNECT take besides handles.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub struct Terms {
    pub send_depth: u8,
    pub recv_depth: u8,
    pub private: u8,
    pub wait: Wait,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_twist_stays_inside() {
        let twist = Twist { how: 255, at: 255, value: Value(u64::MAX), ..Twist::NONE };
        for len in 4..64 {
            let mut bytes = vec![0; len];
            twist.apply(&mut bytes, 4);
            assert_eq!(bytes[..4], [0; 4]);
        }
    }
}
