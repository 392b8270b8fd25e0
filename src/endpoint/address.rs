// SPDX-License-Identifier: GPL-2.0

//! Socket addresses as the ABI has them.

use dmakit::{
    errno::EAFNOSUPPORT,
    rdma::addr::Addr,
    uapi, //
};
use kernel::prelude::*;

/// An address from user space; `None` if there is none.
pub(super) fn from_user(addr: &uapi::dmaplane_addr) -> Result<Option<Addr>> {
    let len = usize::try_from(addr.len)?;
    let bytes = addr.data.get(..len).ok_or(EAFNOSUPPORT)?;
    let rest = addr.data.get(len..).unwrap_or(&[]);
    if rest.iter().any(|byte| *byte != 0) {
        return Err(EINVAL);
    }
    if bytes.is_empty() {
        return Ok(None);
    }
    let parsed = Addr::from_bytes(bytes).map_err(|_| EAFNOSUPPORT)?;
    match parsed.as_bytes().len() == len {
        true => Ok(Some(parsed)),
        false => Err(EAFNOSUPPORT.into()),
    }
}

/// An address for user space.
pub(super) fn to_user(addr: Option<Addr>) -> uapi::dmaplane_addr {
    let mut out = uapi::dmaplane_addr::default();
    if let Some(addr) = addr {
        for (to, from) in out.data.iter_mut().zip(addr.as_bytes()) {
            *to = *from;
        }
        out.len = addr.as_bytes().len().min(out.data.len()) as u32;
    }
    out
}
