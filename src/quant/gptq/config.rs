//! Settings of GPTQ.

use serde::{Deserialize, Serialize};

use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::quant::GroupSize;
use crate::scheme::{Scheme, Span};

/// Settings of GPTQ, as typed on the command line and as recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[serde(default, deny_unknown_fields)]
pub struct GptqConfig {
    /// Bits of a weight: 2, 3, 4 or 8
    #[cfg_attr(feature = "cli", arg(long, default_value_t = GptqConfig::default().bits))]
    pub bits: u8,
    /// Input features that share a scale, 16 to 1024; `channel` for one scale per output feature
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", default_value_t = GptqConfig::default().group_size))]
    pub group_size: GroupSize,
    /// Store a zero point per group (readers other than bitsmith may refuse it)
    #[cfg_attr(feature = "cli", arg(long))]
    pub asymmetric: bool,
    /// Type that scales are rounded to: f32, f16 or bf16 (the file of an f32 model holds the rounded values in f32)
    #[cfg_attr(feature = "cli", arg(long, value_name = "TYPE", default_value_t = GptqConfig::default().scale_type))]
    pub scale_type: Dtype,
    /// Take the columns whose inputs weigh most first; groups stay where they are in the file
    #[cfg_attr(feature = "cli", arg(long))]
    pub act_order: bool,
    /// What is added to the diagonal of the Gram matrix of a layer's inputs, as a share of its mean
    #[cfg_attr(feature = "cli", arg(
        long,
        value_name = "SHARE",
        default_value_t = GptqConfig::default().damp_percent,
    ))]
    pub damp_percent: f64,
    /// Search the scale of each group, weighted by what errors in its columns cost; `--search=false` takes the extremes
    #[cfg_attr(feature = "cli", arg(
        long,
        value_name = "BOOL",
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value_t = GptqConfig::default().search,
    ))]
    pub search: bool,
}

impl Default for GptqConfig {
    fn default() -> Self {
        Self {
            bits: 4,
            group_size: GroupSize(Span::Group(128)),
            asymmetric: false,
            scale_type: Dtype::F16,
            act_order: false,
            damp_percent: 0.05,
            search: true,
        }
    }
}

impl GptqConfig {
    /// The scheme of every layer without a plan.
    ///
    /// # Errors
    /// [`Error::Config`] for bits or a group size that there are not.
    pub fn scheme(&self) -> Result<Scheme> {
        self.group_size.refuse_tensor("solved for")?;
        self.group_size.scheme(self.bits, self.asymmetric, self.scale_type)
    }

    /// Checks the settings by themselves.
    ///
    /// # Errors
    /// [`Error::Config`] that names the setting.
    pub fn check(&self) -> Result<()> {
        self.scheme()?;
        if !(self.damp_percent > 0.0 && self.damp_percent <= 1.0) {
            return Err(Error::config("damp_percent", format!("{} is not from above 0 to 1", self.damp_percent)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_recorded_whole() {
        let config = GptqConfig { act_order: true, damp_percent: 0.25, ..GptqConfig::default() };
        let value = serde_json::to_value(&config).expect("plain values");
        assert_eq!(value["damp_percent"], 0.25);
        assert_eq!(serde_json::from_value::<GptqConfig>(value).expect("it is its own"), config);
        assert!(serde_json::from_str::<GptqConfig>(r#"{"damping": 1}"#).is_err());
    }

    #[test]
    fn unusable_settings_are_refused() {
        let refused = |change: fn(&mut GptqConfig)| {
            let mut config = GptqConfig::default();
            change(&mut config);
            config.check().expect_err("it does not fit").to_string()
        };
        assert!(refused(|c| c.bits = 5).contains("bits"));
        assert!(refused(|c| c.group_size = GroupSize(Span::Tensor)).contains("group_size"));
        assert!(refused(|c| c.damp_percent = 0.0).contains("damp_percent"));
        assert!(refused(|c| c.damp_percent = f64::NAN).contains("damp_percent"));
    }

    #[cfg(feature = "cli")]
    #[test]
    fn flags_carry_the_names_of_the_settings() {
        use clap::{Args, FromArgMatches};
        let parse = |flags: &str| {
            let command = GptqConfig::augment_args(clap::Command::new("gptq").no_binary_name(true));
            GptqConfig::from_arg_matches(&command.get_matches_from(flags.split_whitespace())).expect("known flags")
        };
        assert_eq!(parse(""), GptqConfig::default());
        let flags = "--bits 2 --asymmetric --act-order --damp-percent 0.1 --search=false --scale-type f32";
        let config = GptqConfig {
            bits: 2,
            asymmetric: true,
            act_order: true,
            damp_percent: 0.1,
            search: false,
            scale_type: Dtype::F32,
            ..GptqConfig::default()
        };
        assert_eq!(parse(flags), config);
        assert!(parse("--search").search);
    }
}
