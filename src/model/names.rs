//! Names of services, pools and releases. They become metric labels, header values and file content,
//! so their alphabet is small.

use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A name that breaks the rules of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {text:?} is not usable: {rule}")]
pub struct InvalidName {
    kind: &'static str,
    text: String,
    rule: &'static str,
}

/// The name of the cookie that carries a visitor's key.
pub const COOKIE_NAME: &str = "cutover";
/// The name of the cookie that shows a visitor the pool of a preview link.
pub const PREVIEW_COOKIE_NAME: &str = "cutover-preview";
/// Paths below it are the router's own, on every host of every service.
pub const RESERVED_PREFIX: &str = "/.cutover/";

const NAME_RULE: &str = "1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit";
const RELEASE_RULE: &str = "1 to 128 letters, digits, '.', '_', '-', '+', ':', '@' or '/'";

fn is_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn is_release(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+:@/".contains(&b))
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:expr, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                if $valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidName { kind: $kind, text: text.chars().take(200).collect(), rule: $rule })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The name of a service.
    ServiceName, "service name", NAME_RULE, is_name
);
name!(
    /// The name of a pool of a service.
    PoolName, "pool name", NAME_RULE, is_name
);
name!(
    /// The identifier of the software that runs in a pool: a version or a commit.
    ReleaseId, "release", RELEASE_RULE, is_release
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_keeps_to_its_alphabet() {
        for good in ["shop", "server0", "a.b_c-d", "0"] {
            assert!(good.parse::<PoolName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a b", "ä", "a\"", "a/b", &"x".repeat(65)] {
            assert!(bad.parse::<PoolName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_release_may_look_like_a_version_or_an_image_tag() {
        for good in ["2026.11.1", "v1.2+build.5", "repo/app:1.2", "3f0c9a"] {
            assert!(good.parse::<ReleaseId>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a\"b", "a\nb"] {
            assert!(bad.parse::<ReleaseId>().is_err(), "{bad}");
        }
    }

    odd_input! {
        fn a_name_is_taken_as_it_is_by_its_rule_alone(
            text in prop_oneof!["[A-Za-z0-9._/:@+-]{0,12}", "[a-z0-9]{60,70}", "[a-z:]{120,135}", ".{0,8}"],
        ) {
            let all = |known: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || known.contains(c));
            let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
            let of_pool = first && text.len() <= 64 && all("._-");
            let of_release = !text.is_empty() && text.len() <= 128 && all("._-+:@/");
            prop_assert_eq!(text.parse::<PoolName>().map(String::from).ok(), of_pool.then(|| text.clone()));
            prop_assert_eq!(text.parse::<ServiceName>().map(String::from).ok(), of_pool.then(|| text.clone()));
            prop_assert_eq!(text.parse::<ReleaseId>().map(String::from).ok(), of_release.then(|| text.clone()));
        }
    }
}
