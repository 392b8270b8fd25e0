// SPDX-License-Identifier: GPL-2.0

//! Entries that come to a channel's file by io_uring, and complete there.
//!
//! What such an entry asks for is the same, but it is not in the rings: it has no place in the
//! completion ring, and `LINK` and `DRAIN` of those that are in the ring do not see it.
//!
//! Ownership: io_uring has the command until it is complete, and with it the file. What takes some time
//! has a [`Ticket`], which has the right to complete the command.
//! Locking: io_uring's `uring_lock` is held as a rule, outside of all of ours. Nobody takes it with one
//! of ours held: commands that were kept are completed by the submitter's task.
//! Teardown: io_uring asks for the end of what is left ([`revoke`]) when the ring or the task ends.
//! Before that nothing closes the file.

use super::{
    cancel::Target,
    queue::Queue,
    request::{
        Plug,
        Request,
        Ticket,
        Work, //
    },
    submit, //
};
use crate::{
    context::Context,
    endpoint::Endpoint, //
};
use dmakit::{
    errno::EOPNOTSUPP,
    uapi,
    uring::{
        Issue,
        Issued,
        Key, //
    },
    worker::Worker, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Flags that say something about the rings.
const REFUSED: u32 = submit::FLAGS | uapi::DMAPLANE_SQE_MULTISHOT;

/// What a completion says that io_uring has no member for.
pub(super) fn rest(cqe: &uapi::dmaplane_cqe) -> [u8; 8] {
    let flags = match u32::from(cqe.opcode) {
        uapi::DMAPLANE_OP_RECV => cqe.flags | uapi::DMAPLANE_CQE_F_ENTRY as u16,
        _ => cqe.flags,
    };
    let [a, b, c, d] = cqe.imm.to_ne_bytes();
    let [e, f] = flags.to_ne_bytes();
    [a, b, c, d, cqe.opcode, cqe.wc_status, e, f]
}

/// Takes an entry. What is done at once may be so when the channel was open a moment before. Else it
/// begins before those that come later, also if it has to wait for them a moment:
/// what is not issued at once is issued by another task, in any order.
pub(super) fn submit<'a>(
    queue: &Arc<Worker<Queue>>,
    context: &Context,
    issue: Issue<'a>,
) -> Issued<'a> {
    if issue.operation() != uapi::DMAPLANE_URING_CMD_SUBMIT {
        return issue.finish(Err(EOPNOTSUPP.into()), [0; 8]);
    }
    let sqe = match issue.entry() {
        Ok(words) => uapi::dmaplane_sqe::from(words),
        Err(error) => return issue.finish(Err(error), [0; 8]),
    };
    let ring = queue.ring();
    let extra = rest(&uapi::dmaplane_cqe {
        opcode: sqe.opcode,
        ..Default::default()
    });
    let told = match ring.accept_command() {
        Ok(told) => told,
        Err(error) => return issue.finish(Err(error), extra),
    };
    let work = match u32::from(sqe.flags) & REFUSED {
        0 => submit::parse(context, &sqe, told),
        _ => Err(EINVAL),
    };
    let done = match work {
        Ok(Work::Nop) => Ok(0),
        Ok(Work::Wrong(error)) | Err(error) => Err(error),
        Ok(Work::Transfer(transfer)) if transfer.is_short() => {
            // Whoever sees the completion may expect the buffers' memory to be free once destroyed.
            Ok(transfer.all().length())
        }
        Ok(Work::Cancel(target)) => cancel(queue, &target),
        Ok(Work::Invalidate(region)) => region.invalidate().map(|()| 0),
        Ok(work) => match ring.keep_command() {
            Ok(()) => {
                let (command, issued) = issue.keep(sqe.endpoint);
                let ticket = Ticket::of_command(queue, &sqe, command);
                begin(queue, Request { work, ticket });
                return issued;
            }
            Err(error) => Err(error),
        },
    };
    ring.complete_command(false);
    issue.finish(done, extra)
}

/// Begins what is not complete at once.
fn begin(queue: &Arc<Worker<Queue>>, request: Request) {
    let mut taken = queue.taken();
    // Dropped first.
    let mut plug = Plug::default();
    queue.begin(queue, &mut taken, request, &mut plug);
}

/// Cancels entries, and goes on with those that waited for them.
fn cancel(queue: &Arc<Worker<Queue>>, target: &Target<'_>) -> Result<u32> {
    let mut taken = queue.taken();
    // As above.
    let mut plug = Plug::default();
    let found = target.cancel(queue, &mut taken);
    if !taken.order.is_idle() {
        queue.go_on(queue, &mut taken, &mut plug);
    }
    found
}

/// Ends the entry that has this command of io_uring; whether there was one.
pub(super) fn revoke(queue: &Arc<Worker<Queue>>, context: &Context, key: &Key) -> bool {
    let endpoint = context.get::<Endpoint>(key.tag()).ok();
    let target = Target {
        endpoint,
        handle: key.tag(),
        user_data: 0,
        all: false,
        key: Some(key),
    };
    if cancel(queue, &target).is_ok() {
        return true;
    }
    // What was sent cannot be called back, and the peer may take as long as it likes.
    let meant = |ticket: &Ticket| ticket.has(key);
    target
        .endpoint
        .as_ref()
        .is_some_and(|endpoint| endpoint.disown(&meant))
}
