// SPDX-License-Identifier: GPL-2.0

//! Error numbers that the kernel crate does not name.
//!
//! C header: [`include/uapi/asm-generic/errno.h`](srctree/include/uapi/asm-generic/errno.h)

use crate::bindings;
use kernel::error::Error;

/// An error number that converts into an [`Error`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(u32);

impl Errno {
    /// The number as it is stored where 0 means success.
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Error::from_errno(0i32.wrapping_sub_unsigned(errno.0))
    }
}

impl PartialEq<Errno> for Error {
    fn eq(&self, other: &Errno) -> bool {
        *self == Error::from(*other)
    }
}

macro_rules! errno {
    ($($name:ident),* $(,)?) => {
        $(
            #[doc = concat!("`", stringify!($name), "`")]
            pub const $name: Errno = Errno(bindings::$name);
        )*
    };
}

errno! {
    EADDRINUSE,
    EADDRNOTAVAIL,
    EAFNOSUPPORT,
    EBADFD,
    ECANCELED,
    ECONNREFUSED,
    ECONNRESET,
    EDQUOT,
    EHOSTUNREACH,
    EISCONN,
    EKEYREVOKED,
    ELOOP,
    EMSGSIZE,
    ENETUNREACH,
    ENOBUFS,
    ENOKEY,
    ENOSYS,
    ENOTCONN,
    EOPNOTSUPP,
    EPROTO,
    EPROTONOSUPPORT,
    EPROTOTYPE,
    EREMOTEIO,
    ETIME,
}

#[cfg(dmaplane_test)]
#[kernel::prelude::kunit_tests(dmakit_errno)]
mod tests {
    use super::*;
    use kernel::error::{
        code::EINVAL,
        to_result, //
    };

    const ALL: [Errno; 23] = [
        EADDRINUSE,
        EADDRNOTAVAIL,
        EAFNOSUPPORT,
        EBADFD,
        ECANCELED,
        ECONNREFUSED,
        ECONNRESET,
        EDQUOT,
        EHOSTUNREACH,
        EISCONN,
        EKEYREVOKED,
        ELOOP,
        EMSGSIZE,
        ENETUNREACH,
        ENOBUFS,
        ENOKEY,
        ENOSYS,
        ENOTCONN,
        EOPNOTSUPP,
        EPROTO,
        EPROTONOSUPPORT,
        EREMOTEIO,
        ETIME,
    ];

    #[test]
    fn every_number_becomes_that_error() {
        for errno in ALL {
            // An invalid number would become `EINVAL`.
            assert!(Error::from(errno) != EINVAL);
            assert_eq!(
                i64::from(Error::from(errno).to_errno()),
                -i64::from(errno.number())
            );
        }
    }

    #[test]
    fn what_c_returns_compares_equal() {
        assert!(to_result(-122).is_err_and(|error| error == EDQUOT));
        assert!(to_result(-95).is_err_and(|error| error == EOPNOTSUPP));
        for (i, one) in ALL.into_iter().enumerate() {
            for (j, other) in ALL.into_iter().enumerate() {
                assert_eq!((Error::from(one) == other), (i == j));
            }
        }
    }
}
