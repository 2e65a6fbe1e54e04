// SPDX-License-Identifier: GPL-2.0

//! Little-endian integers with the size and alignment of their C namesakes,
//! so that a field of the device ABI can't be read without a conversion.

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

macro_rules! little_endian {
    ($(#[$doc:meta])* $name:ident, $native:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
        #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(transparent)]
        pub struct $name($native);

        impl $name {
            /// Stores `value` in little-endian order.
            pub const fn new(value: $native) -> Self {
                Self(value.to_le())
            }

            /// The value in the machine's order.
            pub const fn get(self) -> $native {
                <$native>::from_le(self.0)
            }
        }

        impl From<$native> for $name {
            fn from(value: $native) -> Self {
                Self::new(value)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.get().fmt(f)
            }
        }
    };
}

little_endian!(
    /// `__le16`.
    Le16,
    u16
);
little_endian!(
    /// `__le32`.
    Le32,
    u32
);
little_endian!(
    /// `__le64`.
    Le64,
    u64
);
