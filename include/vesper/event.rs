// SPDX-License-Identifier: GPL-2.0

//! Kinds of record, and the macros that describe them.

use super::{
    bindings,
    Record, //
};

/// The kinds of record that a probe writes. [`events!`] makes one.
///
/// # Safety
///
/// `TABLE` is as `probe.h` wants it: names and fields are valid for ever.
pub(crate) unsafe trait Events {
    /// One for each kind.
    const TABLE: &'static [bindings::vesper_event];
}

/// A kind of record. [`events!`] makes these.
pub(crate) trait Event {
    /// The table it is in.
    type Events: Events;
    /// Its place there.
    const ID: u32;
    /// Its fields.
    const FIELDS: &'static [bindings::vesper_field];

    /// Most bytes that the fields take.
    fn size(&self) -> usize;

    /// Writes the fields, in the order of the table.
    fn put(&self, record: &mut Record<'_>);
}

/// How `vesper probes` shows the type of a field.
#[doc(hidden)]
pub(crate) const fn type_name(field: &bindings::vesper_field) -> &'static str {
    if !field.labels.is_null() {
        return "ENUM";
    }
    match field.type_ {
        bindings::VESPER_TYPE_U8 => "U8",
        bindings::VESPER_TYPE_U16 => "U16",
        bindings::VESPER_TYPE_U32 => "U32",
        bindings::VESPER_TYPE_U64 => "U64",
        bindings::VESPER_TYPE_S8 => "S8",
        bindings::VESPER_TYPE_S16 => "S16",
        bindings::VESPER_TYPE_S32 => "S32",
        bindings::VESPER_TYPE_S64 => "S64",
        bindings::VESPER_TYPE_X32 => "X32",
        bindings::VESPER_TYPE_X64 => "X64",
        bindings::VESPER_TYPE_STRING => "STRING",
        bindings::VESPER_TYPE_BYTES => "BYTES",
        bindings::VESPER_TYPE_SYMBOL => "SYMBOL",
        _ => "STACK",
    }
}

/// Describes the records of a probe: each struct is a kind of record, its fields are [`Value`]s.
///
/// ```ignore
/// events! {
///     /// What the probe writes.
///     struct Table;
///
///     /// A process ended.
///     struct Exit = c"process_exit" {
///         /// Its id.
///         pid: i32,
///         /// Its name.
///         comm: vesper::Comm,
///     }
/// }
/// ```
macro_rules! events {
    (
        $(#[$table_meta:meta])*
        struct $table:ident;
        $(
            $(#[doc = $doc:literal])*
            struct $event:ident $(<$life:lifetime>)? = $text:literal {
                $( $(#[doc = $field_doc:literal])* $field:ident: $type:ty ),* $(,)?
            }
        )+
    ) => {
        $(#[$table_meta])*
        pub(crate) enum $table {}

        #[allow(elided_lifetimes_in_paths)] // The tables are the same for any.
        // SAFETY: All of it is made of literals.
        unsafe impl $crate::vesper::Events for $table {
            const TABLE: &'static [$crate::vesper::bindings::vesper_event] = &[$(
                $crate::vesper::bindings::vesper_event {
                    name: ::kernel::str::as_char_ptr_in_const_context($text),
                    fields: <$event as $crate::vesper::Event>::FIELDS.as_ptr(),
                    nr_fields: <$event as $crate::vesper::Event>::FIELDS.len() as u32,
                }
            ),*];
        }

        $(
            $(#[doc = $doc])*
            pub(crate) struct $event $(<$life>)? {
                $( $(#[doc = $field_doc])* pub(crate) $field: $type, )*
            }

            impl $(<$life>)? $crate::vesper::Event for $event $(<$life>)? {
                type Events = $table;
                const ID: u32 = __event_id::$event as u32;
                const FIELDS: &'static [$crate::vesper::bindings::vesper_field] = &[$(
                    $crate::vesper::bindings::vesper_field {
                        name: concat!(stringify!($field), "\0").as_ptr().cast(),
                        type_: <$type as $crate::vesper::Value>::TYPE,
                        labels: <$type as $crate::vesper::Value>::LABELS.as_ptr(),
                    },
                )*];

                #[inline]
                fn size(&self) -> usize {
                    0usize $( .saturating_add($crate::vesper::Value::size(&self.$field)) )*
                }

                #[inline]
                fn put(&self, record: &mut $crate::vesper::Record<'_>) {
                    $( $crate::vesper::Value::put(&self.$field, record); )*
                }
            }

            modinfo!("vesper_event=", $text.to_bytes(), ":", concat!($($doc),*));
            #[allow(elided_lifetimes_in_paths)] // As above.
            const _: () = {
                /// Places in the record.
                #[allow(non_camel_case_types)]
                enum __field_id { $($field),* }

                $(
                    modinfo!(
                        "vesper_field=", $text.to_bytes(), ".", stringify!($field), ":",
                        $crate::vesper::type_name(
                            &<$event as $crate::vesper::Event>::FIELDS[__field_id::$field as usize]
                        ),
                        ":", concat!($($field_doc),*)
                    );
                )*
            };
        )+

        /// Places in the table.
        #[allow(non_camel_case_types)]
        enum __event_id { $($event),+ }
    };
}

/// Names the values of an integer field: makes a type of field that is written as that integer.
///
/// ```ignore
/// labels! {
///     /// How it ended.
///     struct Outcome(i32) = c"outcome" { c"ok" = 0, c"failed" = 1 }
/// }
/// ```
macro_rules! labels {
    (
        $(#[$meta:meta])*
        struct $name:ident($type:ty) = $text:literal {
            $( $label:literal = $value:expr ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name(pub(crate) $type);

        impl $name {
            const ENTRIES: &'static [$crate::vesper::bindings::vesper_label] = &[$(
                $crate::vesper::bindings::vesper_label {
                    value: $value as i64,
                    label: ::kernel::str::as_char_ptr_in_const_context($label),
                },
            )+];
        }

        impl $crate::vesper::Value for $name {
            const TYPE: u32 = <$type as $crate::vesper::Value>::TYPE;
            // SAFETY: A constant that refers to constants.
            const LABELS: $crate::vesper::Labels = unsafe {
                $crate::vesper::Labels::new(&$crate::vesper::bindings::vesper_labels {
                    name: ::kernel::str::as_char_ptr_in_const_context($text),
                    labels: Self::ENTRIES.as_ptr(),
                    nr_labels: Self::ENTRIES.len() as u32,
                })
            };

            #[inline]
            fn size(&self) -> usize {
                $crate::vesper::Value::size(&self.0)
            }

            #[inline]
            fn put(&self, record: &mut $crate::vesper::Record<'_>) {
                $crate::vesper::Value::put(&self.0, record);
            }
        }
    };
}
