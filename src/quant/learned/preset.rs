//! Named settings of learned rounding.

use std::fmt;
use std::str::FromStr;

use super::{LearnedConfig, Ranges};
use crate::calib::Inputs;
use crate::error::{Error, Result};
use crate::quant::{GroupSize, TuneConfig};
use crate::scheme::Span;

/// Settings that others found and named. What is set beside a preset wins over it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preset {
    /// AutoRound's: 50 steps for each block, each 5e-3 long at first; no tuning.
    Light,
    /// AutoRound's 200 steps for each block, and [tuning](crate::quant::tune).
    #[default]
    Default,
    /// AutoRound's 1000 steps for each block over 512 sequences, and tuning.
    Best,
    /// Bitween's: 8 bits in groups of 32, one pass over 128 sequences in mini-batches of 32, momentum, each block trained
    /// on what the original blocks before it give. Its loss factor of 1000 has no counterpart here: only signs of
    /// gradients count, which no factor changes.
    Bitween,
}

impl Preset {
    /// Every preset.
    pub const ALL: [Self; 4] = [Self::Light, Self::Default, Self::Best, Self::Bitween];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Default => "default",
            Self::Best => "best",
            Self::Bitween => "bitween",
        }
    }
}

impl LearnedConfig {
    /// The settings of a preset.
    ///
    /// ```
    /// use bitsmith::quant::{LearnedConfig, Preset};
    /// let config = LearnedConfig { bits: 2, ..LearnedConfig::preset(Preset::Best) };
    /// assert_eq!((config.bits, config.iters, config.samples), (2, 1000, 512));
    /// ```
    pub fn preset(preset: Preset) -> Self {
        let default = Self::default();
        match preset {
            Preset::Light => Self { iters: 50, lr: Some(5e-3), tune: TuneConfig::NONE, ..default },
            Preset::Default => default,
            Preset::Best => Self { iters: 1000, samples: 512, ..default },
            Preset::Bitween => Self {
                bits: 8,
                group_size: GroupSize(Span::Group(32)),
                iters: 4,
                lr: Some(5e-3),
                batch_size: 32,
                inputs: Inputs::Original,
                ranges: Ranges::Bounds,
                momentum: 0.9,
                tune: TuneConfig::NONE,
                ..default
            },
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Preset {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::config("preset", format!("`{text}` is not one of {names}"))
        })
    }
}

#[cfg(feature = "cli")]
pub use flags::LearnedArgs;

#[cfg(feature = "cli")]
mod flags {
    use std::sync::LazyLock;

    use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
    use serde_json::Value;

    use super::{LearnedConfig, Preset};

    const PRESET: &str = "preset";

    /// The flags of [`LearnedConfig`], and `--preset`, which sets those that are not typed.
    #[derive(Clone, Debug, PartialEq)]
    pub struct LearnedArgs {
        /// The settings that follow.
        pub config: LearnedConfig,
    }

    /// What each preset sets other than the default: preset, setting, value.
    static VALUES: LazyLock<Vec<(&'static str, String, String)>> = LazyLock::new(|| {
        // Settings of a part stand among the others, as its flags do.
        let flat = |(name, value)| match value {
            Value::Object(part) => part,
            value => serde_json::Map::from_iter([(name, value)]),
        };
        let fields = |preset| match serde_json::to_value(LearnedConfig::preset(preset)) {
            Ok(Value::Object(fields)) => fields.into_iter().flat_map(flat).collect(),
            _ => serde_json::Map::new(),
        };
        let default = fields(Preset::Default);
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let of = |preset: Preset| {
            let changed = fields(preset).into_iter().filter(|(name, value)| default.get(name) != Some(value));
            changed.map(move |(name, value)| (preset.name(), name, text(&value))).collect::<Vec<_>>()
        };
        Preset::ALL.into_iter().flat_map(of).collect()
    });

    impl Args for LearnedArgs {
        fn augment_args(command: Command) -> Command {
            let preset = Arg::new(PRESET)
                .long(PRESET)
                .value_name("NAME")
                .default_value(Preset::Default.name())
                .value_parser(clap::value_parser!(Preset))
                .help("Settings by name: light, default (tunes all blocks together at the end), best or bitween; flags that are typed win");
            let command = LearnedConfig::augment_args(command.arg(preset));
            VALUES.iter().fold(command, |command, (preset, name, value)| {
                command.mut_arg(name.as_str(), |arg| arg.default_value_if(PRESET, *preset, value.as_str()))
            })
        }

        fn augment_args_for_update(command: Command) -> Command {
            Self::augment_args(command)
        }
    }

    impl FromArgMatches for LearnedArgs {
        fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
            let preset = matches.get_one::<Preset>(PRESET).copied().unwrap_or_default();
            let LearnedConfig { samples, .. } = LearnedConfig::preset(preset);
            Ok(Self { config: LearnedConfig { samples, ..LearnedConfig::from_arg_matches(matches)? } })
        }

        fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
            *self = Self::from_arg_matches(matches)?;
            Ok(())
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn parse(flags: &str) -> LearnedConfig {
            let command = LearnedArgs::augment_args(Command::new("learned").no_binary_name(true));
            let matches = command.get_matches_from(flags.split_whitespace());
            LearnedArgs::from_arg_matches(&matches).expect("known flags").config
        }

        #[test]
        fn presets_set_what_is_not_typed() {
            assert_eq!(parse(""), LearnedConfig::default());
            for preset in Preset::ALL {
                assert_eq!(parse(&format!("--preset {preset}")), LearnedConfig::preset(preset), "{preset}");
            }
            let typed = LearnedConfig { iters: 7, bits: 2, ..LearnedConfig::preset(Preset::Light) };
            assert_eq!(parse("--iters 7 --preset light --bits 2"), typed);
            // A default that is typed is typed.
            let bitween = LearnedConfig { bits: 4, ..LearnedConfig::preset(Preset::Bitween) };
            assert_eq!(parse("--preset bitween --bits 4"), bitween);
        }
    }
}
