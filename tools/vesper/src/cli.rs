// SPDX-License-Identifier: GPL-2.0

//! The command line: one definition for parsing, help, man pages, completion.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use vesper_abi::name::{check_label, check_name};
use vesper_abi::pattern::pattern_field;

mod keep;
mod record;
pub use keep::{Keep, KeepAction, KeepAdd};
pub use record::Record;

/// The longest time-out that the ioctl can carry, in milliseconds.
const MAX_TIMEOUT_MS: u128 = u32::MAX as u128;

/// Traces KVM guests from the host: loads probes into them, and reads what the
/// probes record.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "vesper", version, propagate_version = true)]
#[command(after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Control device of the host module.
    #[arg(long, global = true, hide = true, env = "VESPER_DEVICE")]
    #[arg(default_value = "/dev/vesper")]
    pub device: PathBuf,

    /// Directory to take for debugfs, instead of where it is mounted.
    #[arg(long, global = true, hide = true, env = "VESPER_DEBUGFS")]
    pub debugfs: Option<PathBuf>,
}

const EXIT_CODES: &str = "\
Exit status:
  0    done
  1    failed
  2    wrong usage
  3    the guest refused
  4    the guest did not answer in time
  130  interrupted";

/// The subcommands.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// List the guests that can be traced.
    Domains(Json),

    /// Load groups of probe points, or other kernel modules, into a guest.
    ///
    /// A group is named as `vesper probes` lists it, and taken in the build for
    /// the kernel that the guest runs. A module file has a slash in its name, or
    /// ends in .ko, and has to be built for that kernel. Each is loaded inside the
    /// guest's kernel; no program of the guest takes part. Parameters belong to
    /// what they follow: `vesper load web1 memory min_us=500 sched pid=12`.
    Load(Load),

    /// List the groups of probe points, or what one of them has.
    ///
    /// Its points, the fields of its records, its parameters with their defaults,
    /// and the kernels that it is built for.
    Probes(Probes),

    /// List the modules that were loaded into guests.
    ///
    /// Below the table is what they have to say: which of their points are not
    /// attached, and why, as it is now.
    List(List),

    /// Unload a module from a guest.
    ///
    /// What it recorded stays readable until its files are drained.
    Unload(Unload),

    /// Show relay channels that others open in a guest, as blktrace does, or list
    /// what is shared.
    ///
    /// A channel is named by the path of its files in the guest's debugfs, without
    /// the CPU's number: `vesper share web1 'block/*/trace'`. Those that match are
    /// shown on the host while the guest has them open, and those that it opens
    /// later. Its own readers notice nothing of it.
    Share(Share),

    /// Throw away what is unread of a guest that is gone, or of a module that
    /// was unloaded.
    ///
    /// Neither may be live. Their files go.
    Reap(Reap),

    /// Show the records of modules, oldest first.
    ///
    /// Reading takes the records out of the buffers: each is shown once.
    Cat(Cat),

    /// Write the records of modules to a directory, as a trace in the Common Trace
    /// Format.
    ///
    /// Goes on until all modules are unloaded or their guests gone, or until it is
    /// interrupted. What it takes out of the buffers is in the files.
    Record(Record),

    /// Keep probes for guests: they are loaded again when a guest has booted.
    Keep(Keep),

    /// Show the state of each buffer.
    Stat(Stat),

    /// Show what the heartbeat says of a guest, or set it up.
    ///
    /// A guest hangs if each of its CPUs that has work has had time to run for the
    /// threshold and has not beaten. Who waits in poll on the control device, as
    /// `vesper keep` does, is woken when that begins and when it ends.
    Heartbeat(Heartbeat),

    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },

    /// Write man pages or completion scripts, for installation.
    #[command(hide = true)]
    Generate {
        /// What to write.
        what: Generated,
        /// Where to.
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },
}

/// What `vesper generate` can write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Generated {
    /// A man page for each command.
    Man,
    /// Completion scripts for bash, fish and zsh, under the names they look for.
    Completion,
}

/// Output for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct Json {
    /// Print JSON: records an object a line, lists as an array.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `vesper load`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Load {
    /// The guest.
    #[arg(value_parser = name)]
    pub domain: String,
    /// A group of probe points, or a .ko file, plain or compressed with xz.
    #[arg(value_name = "GROUP|FILE", value_hint = ValueHint::FilePath)]
    pub image: PathBuf,
    /// Parameters of it, and further groups and files, each with its own.
    #[arg(value_name = "PARAM=VALUE|GROUP|FILE", value_parser = parameter)]
    pub params: Vec<String>,
    /// Give up waiting after this time; 0 waits for ever.
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "TIME")]
    pub timeout: Duration,
    /// Name under which the module is listed, if not its own.
    #[arg(long, value_parser = name)]
    pub name: Option<String>,
    /// Where groups are.
    #[command(flatten)]
    pub probes: ProbeDirs,
}

/// Arguments of `vesper probes`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Probes {
    /// Show all of this group.
    pub group: Option<String>,
    /// Where groups are.
    #[command(flatten)]
    pub probes: ProbeDirs,
    /// Output for programs.
    #[command(flatten)]
    pub json: Json,
}

/// Where groups of probe points are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct ProbeDirs {
    /// Directory with builds of groups, instead of where they are installed; may
    /// be given several times.
    #[arg(long = "probes", value_name = "DIR", value_hint = ValueHint::DirPath)]
    #[arg(env = "VESPER_PROBES", value_delimiter = ':')]
    pub dirs: Vec<PathBuf>,
}

/// Arguments of `vesper list`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct List {
    /// The guest; all of them if left out.
    #[arg(value_parser = label)]
    pub domain: Option<String>,
    /// Output for programs.
    #[command(flatten)]
    pub json: Json,
}

/// Arguments of `vesper unload`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Unload {
    /// The guest.
    #[arg(value_parser = name)]
    pub domain: String,
    /// The module.
    #[arg(value_parser = name)]
    pub module: String,
    /// Give up waiting after this time; 0 waits for ever.
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "TIME")]
    pub timeout: Duration,
}

/// Arguments of `vesper share`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Share {
    /// The guest.
    #[arg(value_parser = name)]
    pub domain: String,
    /// Which channels: a path, with * for any characters but /, and ? for one;
    /// lists those that are shared if left out.
    #[arg(value_parser = pattern)]
    pub pattern: Option<String>,
    /// Show them no more.
    #[arg(long, requires = "pattern")]
    pub stop: bool,
    /// Give up waiting after this time; 0 waits for ever.
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "TIME")]
    pub timeout: Duration,
    /// Output for programs, of the list.
    #[command(flatten)]
    pub json: Json,
}

/// Arguments of `vesper reap`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Reap {
    /// The guest, or one of its modules.
    #[arg(value_name = "DOMAIN[/MODULE]", value_parser = scope)]
    pub scope: Scope,
}

/// Arguments of `vesper cat`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Cat {
    /// Modules, or guests with all their modules.
    #[arg(value_name = "DOMAIN[/MODULE]", value_parser = scope)]
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    pub targets: Vec<Scope>,
    /// Read a copy of a module's directory instead.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub from: Option<PathBuf>,
    /// Go on as records arrive, until the module is unloaded.
    ///
    /// Times follow the host's wall clock if that is set meanwhile.
    #[arg(short, long)]
    pub follow: bool,
    /// Output for programs.
    #[command(flatten)]
    pub json: Json,
    /// Show times in UTC instead of the local time zone.
    #[arg(long)]
    pub utc: bool,
}

/// Arguments of `vesper stat`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Stat {
    /// The guest, or one of its modules; everything if left out.
    #[arg(value_name = "DOMAIN[/MODULE]", value_parser = scope)]
    pub scope: Option<Scope>,
    /// Output for programs.
    #[command(flatten)]
    pub json: Json,
}

/// Arguments of `vesper heartbeat`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Heartbeat {
    /// The guest; all of them if left out.
    #[arg(value_parser = label)]
    pub domain: Option<String>,
    /// Accuse it after this time without a beat: at least two periods.
    #[arg(long, value_parser = duration, value_name = "TIME", requires = "domain")]
    pub threshold: Option<Duration>,
    /// Time between two beats of a CPU: 10 ms to 60 s.
    #[arg(long, value_parser = duration, value_name = "TIME", requires = "domain")]
    pub period: Option<Duration>,
    /// Output for programs.
    #[command(flatten)]
    pub json: Json,
}

/// A guest, or a module of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The guest.
    pub domain: String,
    /// The module.
    pub module: Option<String>,
}

fn name(text: &str) -> Result<String, String> {
    let name = check_name(text.as_bytes()).map_err(|error| error.to_string())?;
    Ok(name.to_owned())
}

fn pattern(text: &str) -> Result<String, String> {
    pattern_field(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

fn scope(text: &str) -> Result<Scope, String> {
    let (domain, module) = match text.split_once('/') {
        Some((domain, module)) => (domain, Some(label(module)?)),
        None => (text, None),
    };
    Ok(Scope {
        domain: label(domain)?,
        module,
    })
}

fn label(text: &str) -> Result<String, String> {
    let label = check_label(text.as_bytes()).map_err(|error| error.to_string())?;
    Ok(label.to_owned())
}

/// What has no name before its `=` is a slip.
fn parameter(text: &str) -> Result<String, String> {
    if text.contains('\0') {
        return Err("a parameter can't contain a NUL".into());
    }
    match text.as_bytes().first() {
        None | Some(b'=') => Err("a parameter is NAME=VALUE".into()),
        Some(_) => Ok(text.to_owned()),
    }
}

/// `500ms`, `30s`, `2m`, `1h`, or a bare number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(unit_at.unwrap_or(text.len()));
    let factor = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a time is a number with ms, s, m or h behind it".into()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "a time is a whole number with its unit, as in 30s")?;
    let ms = u128::from(number) * factor;
    if ms > MAX_TIMEOUT_MS {
        return Err("the time is too long: 49 days at most".into());
    }
    Ok(Duration::from_millis(ms as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::error::ErrorKind;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command)
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn load_takes_parameters_behind_the_image() {
        let Ok(Command::Load(load)) =
            parse("vesper load web1 signal.ko sig=15 comm=nginx --timeout 500ms")
        else {
            panic!("not a load");
        };
        assert_eq!(load.domain, "web1");
        assert_eq!(load.params, ["sig=15", "comm=nginx"]);
        assert_eq!(load.timeout, Duration::from_millis(500));
        assert_eq!(load.name, None);
    }

    #[test]
    fn targets_are_checked() {
        assert!(matches!(
            parse("vesper cat web1/signal --follow"),
            Ok(Command::Cat(Cat { follow: true, .. }))
        ));
        assert!(parse("vesper cat web1@1/signal@12 web2").is_ok());
        assert!(parse("vesper reap web1@1").is_ok());
        assert!(parse("vesper reap web1/signal@12").is_ok());
        for bad in [
            "vesper cat web1/",
            "vesper cat /signal",
            "vesper cat a/b/c",
            "vesper cat ../x",
            "vesper cat web1@/x",
            "vesper cat web1@1@2/x",
            "vesper cat @1/x",
            "vesper unload web1@1 x",
            "vesper reap web1/",
            "vesper load ../etc x.ko",
            "vesper load web1 x.ko =5",
            "vesper load web1 x.ko --timeout 5y",
            "vesper load web1 x.ko --timeout 99999h",
            "vesper unload web1 .hidden",
            "vesper share web1 /block",
            "vesper share web1 a(b)",
        ] {
            let error = parse(bad).expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::ValueValidation, "{bad}");
        }
    }

    #[test]
    fn cat_reads_one_thing() {
        assert!(parse("vesper cat --from /tmp/copy").is_ok());
        assert!(parse("vesper cat").is_err());
        assert!(parse("vesper cat web1/signal --from /tmp/copy").is_err());
    }

    #[test]
    fn times() {
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("").is_err());
        assert!(duration("-1s").is_err());
        assert!(duration("99999999999999999999s").is_err());
    }
}
