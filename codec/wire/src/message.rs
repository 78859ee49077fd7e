//! One table describes a message; the struct, its decoder and its encoder follow from it.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::malformed::Malformed;
use crate::rope::Rope;

/// A request's or a response's body.
pub trait Message: Default {
    /// Versions that are described.
    const VERSIONS: RangeInclusive<i16>;
    /// The first version with compact lengths and tagged fields.
    const FLEXIBLE_FROM: i16;

    /// Appends the body in this version's shape. Fields that the version does not have are left
    /// out, whatever they hold. The version must be one of [`VERSIONS`](Self::VERSIONS).
    fn encode(&self, version: i16, out: &mut Rope);

    /// Reads a whole body, which shares its byte fields with `body`. Fields that the version does
    /// not have get their defaults; unknown tagged fields are passed over.
    fn decode(body: Bytes, version: i16) -> Result<Self, Malformed>;

    /// The version has compact lengths and tagged fields.
    fn is_flexible(version: i16) -> bool {
        version >= Self::FLEXIBLE_FROM
    }

    /// A value for tests.
    #[cfg(test)]
    #[doc(hidden)]
    fn roll(dice: &mut crate::oracle::Dice, version: i16) -> Self;
}

/// Describes messages and the parts they are made of:
///
/// ```text
/// message Name 0..=5, flexible 3.. { fields }
/// part Name { fields }
/// ```
///
/// A field is `name: Type, versions` and then, in this order, what applies of
/// `tag N` (a tagged field), `null versions` (where null is allowed, all if not given) and
/// `default value` (zero, false, empty or null if not given).
macro_rules! messages {
    ($(
        $(#[$doc:meta])*
        $kind:ident $name:ident $($low:literal ..= $high:literal, flexible $flexible:literal ..)? {
            $(
                $(#[$field_doc:meta])*
                $field:ident: $type:ty, $versions:expr
                $(, tag $tag:literal)? $(, null $null:expr)? $(, default $default:expr)?;
            )*
        }
    )*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $(
                $(#[$field_doc])*
                #[doc = concat!("In versions `", stringify!($versions), "`.")]
                pub $field: $type,
            )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: messages!(@default [$($default)?]),)* }
            }
        }

        impl $crate::value::Wire for $name {
            fn encode(&self, out: &mut $crate::rope::Rope, shape: $crate::value::Shape) {
                $(messages!(@encode [$($tag)?] [$($null)?] self.$field, out, shape, $versions);)*
                if shape.flexible {
                    #[allow(unused_mut, reason = "most structs have no tagged fields")]
                    let mut tagged = Vec::new();
                    $(messages!(@encode_tagged [$($tag)?] self, $field, tagged, shape, $versions);)*
                    out.put_tagged(tagged);
                }
            }

            fn decode(
                from: &mut $crate::reader::Reader,
                shape: $crate::value::Shape,
            ) -> Result<Self, $crate::Malformed> {
                let mut read = Self::default();
                $(messages!(@decode [$($tag)?] [$($null)?] read.$field, from, shape, $versions);)*
                if shape.flexible {
                    from.take_tagged(|tag, from| {
                        $(messages!(
                            @decode_tagged [$($tag)?] read.$field, tag, from, shape, $versions
                        );)*
                        let _ = (tag, from);
                        Ok(())
                    })?;
                }
                Ok(read)
            }

            fn bytes_min(shape: $crate::value::Shape) -> usize {
                let mut sum = usize::from(shape.flexible);
                $(messages!(@bytes_min [$($tag)?] $type, sum, shape, $versions);)*
                sum
            }

            #[cfg(test)]
            fn roll(dice: &mut $crate::oracle::Dice, shape: $crate::value::Shape) -> Self {
                let mut rolled = Self::default();
                $(messages!(@roll [$($null)?] rolled.$field, dice, shape, $versions);)*
                rolled
            }
        }

        $(
            impl $crate::message::Message for $name {
                const VERSIONS: std::ops::RangeInclusive<i16> = $low..=$high;
                const FLEXIBLE_FROM: i16 = $flexible;

                fn encode(&self, version: i16, out: &mut $crate::rope::Rope) {
                    assert!(Self::VERSIONS.contains(&version), "only described versions are written");
                    let flexible = Self::is_flexible(version);
                    let shape = $crate::value::Shape { version, flexible, nullable: true };
                    $crate::value::Wire::encode(self, out, shape);
                }

                fn decode(
                    body: bytes::Bytes,
                    version: i16,
                ) -> Result<Self, $crate::Malformed> {
                    let mut from = $crate::reader::Reader::new(body);
                    if !Self::VERSIONS.contains(&version) {
                        return Err(from.malformed("the version is not known"));
                    }
                    let flexible = Self::is_flexible(version);
                    let shape = $crate::value::Shape { version, flexible, nullable: true };
                    // What follows the message is left alone: librdkafka sends three zeros too
                    // many when it asks for all topics, and counts on nobody minding.
                    $crate::value::Wire::decode(&mut from, shape)
                }

                #[cfg(test)]
                fn roll(dice: &mut $crate::oracle::Dice, version: i16) -> Self {
                    let flexible = Self::is_flexible(version);
                    let shape = $crate::value::Shape { version, flexible, nullable: true };
                    $crate::value::Wire::roll(dice, shape)
                }
            }
        )?
    )*};

    (@default []) => { Default::default() };
    (@default [$default:expr]) => { $default };

    (@has $versions:expr, $shape:ident) => {
        std::ops::RangeBounds::<i16>::contains(&($versions), &$shape.version)
    };
    (@shape [] $shape:ident) => { $crate::value::Shape { nullable: true, ..$shape } };
    (@shape [$null:expr] $shape:ident) => {
        $crate::value::Shape { nullable: messages!(@has $null, $shape), ..$shape }
    };

    (@encode [] [$($null:expr)?] $field:expr, $out:ident, $shape:ident, $versions:expr) => {
        if messages!(@has $versions, $shape) {
            $crate::value::Wire::encode(&$field, $out, messages!(@shape [$($null)?] $shape));
        }
    };
    (@encode [$tag:literal] $($rest:tt)*) => {};

    (@encode_tagged [] $($rest:tt)*) => {};
    (@encode_tagged
        [$tag:literal] $self:ident, $field:ident, $tagged:ident, $shape:ident, $versions:expr
    ) => {
        if messages!(@has $versions, $shape) && $self.$field != Self::default().$field {
            let mut value = $crate::rope::Rope::new();
            $crate::value::Wire::encode(&$self.$field, &mut value, messages!(@shape [] $shape));
            $tagged.push(($tag, value));
        }
    };

    (@decode [] [$($null:expr)?] $field:expr, $from:ident, $shape:ident, $versions:expr) => {
        if messages!(@has $versions, $shape) {
            $field = $crate::value::Wire::decode($from, messages!(@shape [$($null)?] $shape))?;
        }
    };
    (@decode [$tag:literal] $($rest:tt)*) => {};

    (@decode_tagged [] $($rest:tt)*) => {};
    (@decode_tagged
        [$tag:literal] $field:expr, $found:ident, $from:ident, $shape:ident, $versions:expr
    ) => {
        if $found == $tag && messages!(@has $versions, $shape) {
            $field = $crate::value::Wire::decode($from, messages!(@shape [] $shape))?;
            return $from.check_end();
        }
    };

    (@bytes_min [] $type:ty, $sum:ident, $shape:ident, $versions:expr) => {
        if messages!(@has $versions, $shape) {
            $sum += <$type as $crate::value::Wire>::bytes_min($shape);
        }
    };
    (@bytes_min [$tag:literal] $($rest:tt)*) => {};

    (@roll [$($null:expr)?] $field:expr, $dice:ident, $shape:ident, $versions:expr) => {
        if messages!(@has $versions, $shape) {
            $field = $crate::value::Wire::roll($dice, messages!(@shape [$($null)?] $shape));
        }
    };
}

pub(crate) use messages;
