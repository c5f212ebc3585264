//! The settings of the child and of the undisturbed learner: how to learn as whoever asks has set it, the rest as the test
//! needs it.

use std::path::Path;

use super::Failure;
use crate::config::Config;

/// What the test needs. Checkpoints are so frequent that kills meet them being written.
const NEEDED: [&str; 8] = [
    "schema.features=a,b,c,d",
    "learner.batch_size=16",
    "learner.batch_linger_ms=off",
    "checkpoint.every_examples=64",
    "checkpoint.every_seconds=1",
    "evaluation.window=500",
    "http.listen=127.0.0.1:0",
    "admin.listen=127.0.0.1:0",
];

/// `[learner]`, `[model]`, `[loss]` and `[decision]`, the encoding, the seed and the device of `asked`; what batches are, and all else,
/// is the test's.
///
/// # Errors
/// When the two do not go together.
pub(super) fn settings(asked: &Config) -> Result<Config, Failure> {
    let needed = NEEDED.map(str::to_owned);
    let mut config = Config::load(&[], std::iter::empty(), &needed)?;
    let learner = crate::learner::Settings {
        batch_size: config.learner.batch_size,
        batch_linger_ms: config.learner.batch_linger_ms,
        ..asked.learner.clone()
    };
    (config.learner, config.model, config.loss) =
        (learner, asked.model.clone(), asked.loss.clone());
    config.decision = asked.decision.clone();
    config.schema.encoding = asked.schema.encoding;
    config.schema.recent_shares = asked.schema.recent_shares;
    config.device.clone_from(&asked.device);
    config.seed = asked.seed;
    config.check()?;
    Ok(config)
}

/// Writes them to a file that the child reads.
///
/// # Errors
/// When it cannot be written, or would say something else.
pub(super) fn write(config: &Config, path: &Path) -> Result<(), Failure> {
    let text = toml::to_string(config)
        .map_err(|error| Failure::internal(format!("settings as TOML: {error}")))?;
    std::fs::write(path, text)
        .map_err(|error| Failure::io(format!("{}: {error}", path.display())))?;
    if Config::load(&[path.to_owned()], std::iter::empty(), &[])? != *config {
        return Err(Failure::internal(
            "settings read back from their file differ",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(assignments: &[&str]) -> Config {
        let assignments: Vec<String> = assignments.iter().map(|&one| one.to_owned()).collect();
        settings(&Config::load(&[], std::iter::empty(), &assignments).unwrap()).unwrap()
    }

    #[test]
    fn how_to_learn_is_as_asked_and_batches_are_those_of_the_test() {
        let plain = of(&["http.listen=0.0.0.0:80", "http.insecure=true"]);
        assert_eq!(plain.http.listen, "127.0.0.1:0");
        let dir = tempfile::tempdir().unwrap();
        for asked in [
            &["learner.mode=single", "learner.batch_size=64"][..],
            &["learner.lambda=inf", "model.hidden=[8,8]", "seed=7"],
            &[
                "loss.kind=focal",
                "schema.encoding=standard",
                "decision.rule=prior_shift",
            ],
        ] {
            let config = of(asked);
            assert_eq!(config.learner.batch_size, 16);
            assert_ne!(config, plain);
            assert_eq!(config.http, plain.http);
            write(&config, &dir.path().join("settings.toml")).unwrap();
        }
        // Each alone moves something.
        for asked in [
            "learner.lambda=2",
            "model.hidden=[8]",
            "loss.kind=focal",
            "decision.rule=prior_shift",
            "schema.encoding=standard",
            "schema.recent_shares=false",
            "device=auto",
            "seed=7",
        ] {
            assert_ne!(of(&[asked]), plain, "{asked}");
        }
        assert_eq!(plain.learner.mode, crate::learner::Mode::Portfolio);
    }
}
