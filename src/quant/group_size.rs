//! How many input features share a scale, and the scheme that follows from it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::scheme::{Bits, Scheme, Span, Zero};

/// A [`Span`] as people write it: a number of input features, `channel` or `tensor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSize(pub Span);

impl GroupSize {
    /// The scheme of the settings that all methods share.
    ///
    /// # Errors
    /// [`Error::Config`] for bits that there are not.
    pub(super) fn scheme(self, bits: u8, asymmetric: bool, scale_type: Dtype) -> Result<Scheme> {
        let zero = if asymmetric { Zero::Stored } else { Zero::Symmetric };
        Ok(Scheme::new(Bits::new(bits)?, self.0, zero).with_scale_type(scale_type))
    }

    /// Refuses one scale for the whole tensor.
    ///
    /// # Errors
    /// [`Error::Config`] that says what cannot be done with it.
    pub(super) fn refuse_tensor(self, what: &str) -> Result<()> {
        if self.0 == Span::Tensor {
            return Err(Error::config("group_size", format!("`tensor` cannot be {what}; use a number or channel")));
        }
        Ok(())
    }
}

/// Why a method that looks for the codes of each group by itself cannot make those of a scheme, if it cannot.
pub(super) fn codes_by_group(scheme: Scheme) -> Option<&'static str> {
    match scheme.span() {
        Span::Tensor => Some("it finds scales for groups or output features, not for a whole tensor"),
        _ if scheme.bits().is_ternary() => Some("it makes no three levels; take 2 bits, or --method ternary"),
        Span::Channel | Span::Group(_) => None,
    }
}

impl fmt::Display for GroupSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Span::Tensor => f.write_str("tensor"),
            Span::Channel => f.write_str("channel"),
            Span::Group(size) => size.fmt(f),
        }
    }
}

impl FromStr for GroupSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "tensor" => Ok(Self(Span::Tensor)),
            "channel" | "-1" => Ok(Self(Span::Channel)),
            number => Span::group(number.parse().unwrap_or(0)).map(Self).map_err(|_| {
                Error::config("group_size", format!("`{text}` is not a number from 16 to 1024, channel or tensor"))
            }),
        }
    }
}

impl Serialize for GroupSize {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self.0 {
            Span::Group(size) => serializer.serialize_u16(size),
            _ => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for GroupSize {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Size(u64),
            Name(String),
        }
        let text = match Form::deserialize(deserializer)? {
            Form::Size(size) => size.to_string(),
            Form::Name(name) => name,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}
