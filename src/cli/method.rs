//! Quantization methods on the command line: `--method` decides which flags there are, and each method's typed
//! settings are the only source of its flags.

use std::ffi::OsString;
use std::fmt::Write as _;

use bitsmith::quant::{Gptq, Int8, Learned, LearnedArgs, LlmInt8, Quantizer, Rtn, Ternary};
use bitsmith::search::GradualQuantizer;
use bitsmith::{Error, Result};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgMatches, Args, Command};

use super::failure::{Failure, USAGE};

type Build = Box<dyn Fn(&ArgMatches) -> std::result::Result<Box<dyn Quantizer>, Error>>;

/// A method by its name.
struct Method {
    name: &'static str,
    about: &'static str,
    augment: fn(Command) -> Command,
    build: Build,
}

impl Method {
    /// A method whose settings are a `C`.
    fn new<C: Args, Q: Quantizer + 'static>(
        name: &'static str,
        about: &'static str,
        make: impl Fn(C) -> Result<Q> + 'static,
    ) -> Self {
        let build = move |matches: &ArgMatches| {
            let config = C::from_arg_matches(matches).map_err(|e| Error::config("method", e.to_string()))?;
            Ok(Box::new(make(config)?) as Box<dyn Quantizer>)
        };
        Self { name, about, augment: C::augment_args, build: Box::new(build) }
    }

    /// The method's own flags.
    fn flags(&self) -> Command {
        (self.augment)(Command::new(self.name))
    }

    fn knows(&self, flag: &str) -> bool {
        self.flags().get_arguments().filter_map(Arg::get_long).any(|long| flag == format!("--{long}"))
    }
}

/// The methods, the default one first.
pub(super) struct Methods(Vec<Method>);

const METHOD: &str = "method";

impl Methods {
    pub(super) fn all() -> Self {
        Self(vec![
            Method::new("rtn", "round to nearest: each weight takes the code closest to it; no data needed", Rtn::new),
            Method::new(
                "gptq",
                "each column takes up the errors of those before it; needs calibration data",
                Gptq::new,
            ),
            Method::new(
                "gradual",
                "each layer gets as few bits as a budget of quality allows, found by measuring; needs calibration data",
                GradualQuantizer::new,
            ),
            Method::new("int8", "8-bit weights, and 8-bit activations too unless they are to stay", Int8::new),
            Method::new(
                "learned",
                "roundings and ranges are trained block by block; needs calibration data",
                |args: LearnedArgs| Learned::new(args.config),
            ),
            Method::new(
                "llm-int8",
                "8-bit weights and activations, but for the columns with outliers, found as they come",
                LlmInt8::new,
            ),
            Method::new(
                "ternary",
                "three levels, -1, 0 and 1 times a scale; no data needed, for models that were trained so",
                |config| Ok(Ternary::new(config)),
            ),
        ])
    }

    /// The method that a command line names: the first after `--method`, or the default. Whether the command line
    /// makes sense otherwise is for clap to say, once it knows which flags there are.
    pub(super) fn chosen(&self, args: &[OsString]) -> usize {
        let mut args = args.iter().map(|arg| arg.to_string_lossy()).take_while(|arg| arg != "--");
        let name = args.find_map(|arg| match arg.strip_prefix("--method") {
            Some("") => Some(None),
            Some(value) => value.strip_prefix('=').map(|name| Some(name.to_owned())),
            None => None,
        });
        let name = name.and_then(|inline| inline.or_else(|| args.next().map(Into::into)));
        self.0.iter().position(|method| Some(method.name) == name.as_deref()).unwrap_or(0)
    }

    /// Adds `--method` and the flags of the chosen method to a command.
    pub(super) fn augment(&self, command: Command, chosen: usize) -> Command {
        let chosen = &self.0[chosen];
        let names: Vec<_> = self.0.iter().map(|method| method.name).collect();
        let list = self.0.iter().fold("How codes are chosen:".to_owned(), |mut list, method| {
            let _ = write!(list, "\n  {}: {}", method.name, method.about);
            list
        });
        let method = Arg::new(METHOD)
            .long(METHOD)
            .value_name("NAME")
            .default_value(names[0])
            .help(format!("How codes are chosen: {}", names.join(", ")))
            .long_help(format!("{list}\nThe further flags depend on it: `--method NAME --help` shows them"))
            .hide_possible_values(true)
            .value_parser(names);
        let (about, long_about) = (command.get_about().cloned(), command.get_long_about().cloned());
        let command = command.next_help_heading("Method").arg(method);
        // The settings' own documentation must not stand for that of the command.
        (chosen.augment)(command).about(about.unwrap_or_default()).long_about(long_about.unwrap_or_default())
    }

    /// The method that was typed, with its settings.
    pub(super) fn build(&self, matches: &ArgMatches) -> Result<Box<dyn Quantizer>> {
        let name = matches.get_one::<String>(METHOD).map_or("", String::as_str);
        match self.0.iter().find(|method| method.name == name) {
            Some(method) => (method.build)(matches),
            None => Err(Error::config(METHOD, format!("`{name}` is no method"))),
        }
    }

    /// Says of an unknown flag which other method it belongs to.
    pub(super) fn explain(&self, error: clap::Error, chosen: usize) -> Failure {
        let flag = match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(flag)) if error.kind() == ErrorKind::UnknownArgument => flag.clone(),
            _ => return error.into(),
        };
        let mut others = self.0.iter().enumerate().filter(|(i, method)| *i != chosen && method.knows(&flag));
        match others.next() {
            None => error.into(),
            Some((_, owner)) => Failure::Failed {
                code: USAGE,
                message: format!("{flag} is an option of method {}, not of {}", owner.name, self.0[chosen].name),
                hint: format!("add `--method {}`, or leave {flag} out", owner.name),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitsmith::quant::RtnConfig;

    /// Settings of a method that is not rtn.
    #[derive(Args)]
    struct Other {
        /// A flag that rtn does not have
        #[arg(long, default_value_t = 200)]
        steps: u32,
    }

    fn methods() -> Methods {
        let Methods(mut methods) = Methods::all();
        methods.push(Method::new("other", "for this test", |other: Other| {
            assert_eq!(other.steps, 7);
            Rtn::new(RtnConfig { bits: 2, ..Default::default() })
        }));
        Methods(methods)
    }

    fn parse(line: &str) -> std::result::Result<ArgMatches, Failure> {
        let (methods, args) = (methods(), line.split(' ').map(OsString::from).collect::<Vec<_>>());
        let chosen = methods.chosen(&args);
        let command = methods.augment(Command::new("quantize").about("its own"), chosen);
        assert_eq!(command.get_about().map(ToString::to_string).as_deref(), Some("its own"));
        command.try_get_matches_from(args).map_err(|error| methods.explain(error, chosen))
    }

    #[test]
    fn the_method_decides_which_flags_there_are() {
        for line in ["quantize --method other --steps 7", "quantize --steps 7 --method=other"] {
            let quantizer = methods().build(&parse(line).expect("known flags")).expect("good settings");
            assert_eq!(quantizer.scheme().bits().get(), 2);
        }
        let quantizer = methods().build(&parse("quantize --bits 3").expect("known flags")).expect("good settings");
        assert_eq!(quantizer.scheme().bits().get(), 3);
    }

    #[test]
    fn a_foreign_flag_names_its_method() {
        match parse("quantize --steps 7") {
            Err(Failure::Failed { code, message, hint }) => {
                assert_eq!((code, message.as_str()), (USAGE, "--steps is an option of method other, not of rtn"));
                assert!(hint.contains("--method other"), "{hint}");
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(parse("quantize --method other --bits 3"), Err(Failure::Failed { code: USAGE, .. })));
        assert!(matches!(parse("quantize --method int8 --bits 8"), Err(Failure::Failed { code: USAGE, .. })));
        assert!(matches!(parse("quantize --weight-mode auto"), Err(Failure::Failed { code: USAGE, .. })));
        assert!(matches!(parse("quantize --nonsense 7"), Err(Failure::Usage(_))));
        assert!(matches!(parse("quantize --method nonsense"), Err(Failure::Usage(_))));
    }
}
