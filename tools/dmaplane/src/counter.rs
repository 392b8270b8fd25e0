// SPDX-License-Identifier: GPL-2.0
//! Counters: messages that are counted instead of told of one by one.

use rustix::io::Errno;

use crate::context::Object;
use crate::sys::uapi::*;
use crate::sys::{self, Argument};
use crate::{CounterWait, Error, Op, Result};

/// Which messages a [`Counter`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Immediates {
    imm: u32,
    mask: u32,
}

impl Immediates {
    /// All.
    pub const ANY: Immediates = Immediates::masked(0, 0);

    /// Those with this immediate.
    pub const fn exactly(imm: u32) -> Self {
        Immediates::masked(imm, u32::MAX)
    }

    /// Those whose immediate is `imm` where `mask` has bits.
    pub const fn masked(imm: u32, mask: u32) -> Self {
        Immediates { imm, mask }
    }
}

/// Counts messages of one endpoint, which have no completion then.
///
/// One that fits several counters is counted by that with the most bits in its mask. A value
/// begins at 0 and only grows; [`wait_for`](Counter::wait_for) makes an entry that completes
/// when it is reached. Dropping the counter ends it.
#[derive(Debug)]
pub struct Counter {
    object: Object,
    endpoint: u32,
}

impl Counter {
    /// On the endpoint that `endpoint` is the handle of.
    pub(crate) fn create(endpoint: &Object, which: Immediates) -> Result<Self> {
        let context = endpoint.context();
        let mut create = dmaplane_counter_create {
            endpoint: endpoint.handle(),
            imm: which.imm,
            mask: which.mask,
            ..Argument::sized()
        };
        sys::COUNTER_CREATE.call(context, &mut create)?;
        Ok(Counter {
            object: context.object(create.handle, &sys::COUNTER_DESTROY),
            endpoint: endpoint.handle(),
        })
    }

    /// Its handle.
    pub fn id(&self) -> u32 {
        self.object.handle()
    }

    /// The endpoint's handle.
    pub(crate) fn endpoint(&self) -> u32 {
        self.endpoint
    }

    /// Messages counted.
    pub fn value(&self) -> Result<u64> {
        Ok(self.query()?.value)
    }

    /// Why no more will be counted, if that is so.
    pub fn failure(&self) -> Result<Option<Error>> {
        let error = self.query()?.error;
        let error = i32::try_from(error).unwrap_or(i32::MAX);
        Ok((error != 0).then(|| Error::new(Op::Connection, Errno::from_raw_os_error(error))))
    }

    fn query(&self) -> Result<dmaplane_counter_query> {
        let mut query = dmaplane_counter_query {
            counter: self.id(),
            ..Argument::sized()
        };
        sys::COUNTER_QUERY.call(self.object.context(), &mut query)?;
        Ok(query)
    }

    /// An entry that completes when that many messages were counted in all.
    pub fn wait_for(&self, value: u64) -> CounterWait {
        CounterWait::new(self, value)
    }
}
