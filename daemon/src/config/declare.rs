// SPDX-License-Identifier: Apache-2.0
//! The macros that declare keys.

/// Declares a struct of keys. An entry is
///
/// ```text
/// /// Meaning and unit.
/// "javaName" important => field_name: Type [bounds] = default,
/// ```
///
/// where `important` (printed by `-m`) and `[bounds]` (a range, checked on every change) may be left
/// out. `Type` implements [`config::Value`](crate::config::Value). The struct gets public fields,
/// `Default` and [`config::Keys`](crate::config::Keys).
#[macro_export]
macro_rules! config {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $doc:expr])*
                $key:literal $($mark:ident)? => $field:ident: $type:ty $([$bounds:expr])? = $default:expr
            ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        $vis struct $name {
            $(
                $(#[doc = $doc])*
                #[doc = ""]
                #[doc = concat!(
                    "Key: `", $key, "`. ",
                    $("Bounds: `", stringify!($bounds), "`. ",)?
                    "Default: `", stringify!($default), "`."
                )]
                pub $field: $type,
            )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl $crate::config::Keys for $name {
            fn keys() -> ::std::vec::Vec<$crate::config::Key> {
                let defaults = Self::default();
                ::std::vec![$($crate::config::Key {
                    name: $key,
                    important: $crate::config!(@important $($mark)?),
                    doc: concat!($($doc, "\n"),*),
                    bounds: concat!($(stringify!($bounds))?),
                    default: $crate::config::Value::text(&defaults.$field),
                },)+]
            }

            fn text(&self, key: &str) -> Option<Option<String>> {
                match key {
                    $($key => Some($crate::config::Value::text(&self.$field)),)+
                    _ => None,
                }
            }

            fn put(&mut self, key: &str, value: &str) -> Result<bool, $crate::config::BadValue> {
                let text = value.trim();
                match key {
                    $($key => {
                        let Some(parsed) = <$type as $crate::config::Value>::parse(text) else {
                            let expected = <$type as $crate::config::Value>::EXPECTED;
                            return Err($crate::config::BadValue::new(key, value, expected));
                        };
                        $(
                            let bounds = $bounds;
                            if !bounds.contains(&parsed) {
                                let expected = format!(
                                    "{} within {bounds:?}",
                                    <$type as $crate::config::Value>::EXPECTED,
                                );
                                return Err($crate::config::BadValue::new(key, value, expected));
                            }
                        )?
                        self.$field = parsed;
                        Ok(true)
                    })+
                    _ => Ok(false),
                }
            }

            fn doubt(key: &str, value: &str) -> Option<&'static str> {
                match key {
                    $($key => <$type as $crate::config::Value>::doubt(value),)+
                    _ => None,
                }
            }
        }
    };
    (@important) => { false };
    (@important important) => { true };
}

/// Declares a struct whose fields are structs of keys: one file configures them all. A key that
/// stands in several parts, as some of Apache's do, goes to each of them. `idle = FUNCTION;` behind it
/// names the keys that are accepted and change nothing ([`config::Keys::idle`](crate::config::Keys::idle)).
#[macro_export]
macro_rules! config_parts {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $($(#[$part_meta:meta])* $part_vis:vis $part:ident: $type:ty),+ $(,)?
        }
        $(idle = $idle:path;)?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq)]
        $vis struct $name {
            $($(#[$part_meta])* $part_vis $part: $type,)+
        }

        impl $crate::config::Keys for $name {
            fn keys() -> ::std::vec::Vec<$crate::config::Key> {
                let mut keys = ::std::vec::Vec::new();
                $(keys.extend(<$type as $crate::config::Keys>::keys());)+
                keys
            }

            fn text(&self, key: &str) -> Option<Option<String>> {
                None$(.or_else(|| $crate::config::Keys::text(&self.$part, key)))+
            }

            fn put(&mut self, key: &str, value: &str) -> Result<bool, $crate::config::BadValue> {
                let mut changed = self.clone();
                let mut known = false;
                $(known |= $crate::config::Keys::put(&mut changed.$part, key, value)?;)+
                *self = changed;
                Ok(known)
            }

            fn doubt(key: &str, value: &str) -> Option<&'static str> {
                None$(.or_else(|| <$type as $crate::config::Keys>::doubt(key, value)))+
            }

            $(fn idle() -> ::std::vec::Vec<$crate::config::Idle> {
                $idle()
            })?
        }
    };
}

/// Declares an enum whose variants are Java's constants, for use as the type of a key.
///
/// ```
/// aerobee_daemon::config_enum! {
///     /// When a send is answered.
///     pub enum FlushDiskType {
///         /// After the flush.
///         Sync = "SYNC_FLUSH",
///         /// Before it.
///         Async = "ASYNC_FLUSH",
///     }
/// }
/// # use aerobee_daemon::config::Value;
/// assert_eq!(FlushDiskType::parse("SYNC_FLUSH"), Some(FlushDiskType::Sync));
/// assert_eq!(FlushDiskType::EXPECTED, "one of SYNC_FLUSH, ASYNC_FLUSH");
/// ```
#[macro_export]
macro_rules! config_enum {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $(#[$first_meta:meta])* $first:ident = $first_text:literal
            $(, $(#[$variant_meta:meta])* $variant:ident = $text:literal)* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $vis enum $name {
            $(#[$first_meta])* $first,
            $($(#[$variant_meta])* $variant,)*
        }

        impl $crate::config::Value for $name {
            const EXPECTED: &'static str = concat!("one of ", $first_text $(, ", ", $text)*);

            fn parse(text: &str) -> Option<Self> {
                match text {
                    $first_text => Some(Self::$first),
                    $($text => Some(Self::$variant),)*
                    _ => None,
                }
            }

            fn text(&self) -> Option<String> {
                let text = match self {
                    Self::$first => $first_text,
                    $(Self::$variant => $text,)*
                };
                Some(text.to_owned())
            }
        }
    };
}
