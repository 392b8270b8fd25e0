// SPDX-License-Identifier: GPL-2.0

//! What adapters do otherwise than verbs have it, and whoever uses them has to know.
//!
//! Ownership, locking, teardown: none. What applies is found out when a device appears.

use crate::bindings;

/// What one kind of adapter does so.
#[derive(Clone, Copy)]
pub struct Quirks {
    /// It gets lost in the pieces of registered memory that a work request gathers, if those are more
    /// than one.
    pub(super) one_piece: bool,

    /// A request that is not signalled may be told of as done, by one behind it, while its bytes are
    /// still being sent from where they are (siw_qp_prepare_tx(): `use_sendpage`).
    pub(super) borrows_unsignalled: bool,

    /// What a peer reads may still be sent when the key that it used is dead (siw_tx_hdt() goes on
    /// with pages that it looked up once).
    pub sends_after_key: bool,

    /// A peer's write that is arriving may go on for a moment when the key is dead: siw_proc_write() looks at the
    /// key before it copies, and what deregisters does not wait for it.
    pub writes_after_key: bool,

    /// More reads than a peer takes at a time hold up what that reads here (for siw_init_rresp() a
    /// read that waits for others is in the way).
    pub(super) reads_block_reads: bool,

    /// A read may be told of later than a write posted behind it (for siw a write is done when TCP has
    /// taken it, and waits for reads only with a fence, which a read cannot have:
    /// siw_activate_tx_from_sq()).
    pub reads_are_overtaken: bool,

    /// What is about to be sent when the connection ends fails as if that were its own fault, with
    /// `IB_WC_LOC_QP_OP_ERR` (for siw_qp_sq_process() whatever TCP says is that).
    pub blames_itself: bool,

    /// To disconnect waits for the answer to a connect or accept under way.
    pub(super) disconnect_waits: bool,

    /// A registration may be carried out again with what was sent before it and is sent again, so that
    /// nothing may be in flight when it is posted. As what is registered cannot be once more, the queue
    /// pair is taken for broken (rxe_req.c: req_retry() goes back to the oldest request,
    /// rxe_requester() does not look which are done).
    pub repeats_registrations: bool,
}

/// One that is as verbs have it.
const NONE: Quirks = Quirks {
    one_piece: false,
    borrows_unsignalled: false,
    sends_after_key: false,
    writes_after_key: false,
    reads_block_reads: false,
    reads_are_overtaken: false,
    blames_itself: false,
    disconnect_waits: false,
    repeats_registrations: false,
};

/// Over iWARP. Only Soft-iWARP was looked into: of others the same is supposed.
const IWARP: Quirks = Quirks {
    borrows_unsignalled: true,
    sends_after_key: true,
    writes_after_key: true,
    reads_block_reads: true,
    reads_are_overtaken: true,
    blames_itself: true,
    disconnect_waits: true,
    ..NONE
};

const SOFT_IWARP: Quirks = Quirks {
    one_piece: true,
    ..IWARP
};

const SOFT_ROCE: Quirks = Quirks {
    repeats_registrations: true,
    ..NONE
};

impl Quirks {
    pub(super) fn of(info: &bindings::dk_rdma_info) -> Self {
        match info {
            _ if info.rxe => SOFT_ROCE,
            _ if info.siw => SOFT_IWARP,
            _ if info.iwarp => IWARP,
            _ => NONE,
        }
    }
}
