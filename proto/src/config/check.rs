//! What a configuration must be for the protocol to go on. One rule a value, in groups of one concept.

use core::fmt;
use core::time::Duration;

use super::{Config, Reconnect, Role};
use crate::wire::limits;

/// The smallest receive budget: what a sender may count on before it knows more.
pub(crate) const LEAST_BUDGET: u64 = 16 * 1024;
/// What an attachment may take once the hub was dialled.
const MARGIN: Duration = Duration::from_secs(1);

/// A value of [`Config`] that cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("config: {field} is {value}, but must be {rule}")]
pub struct ConfigError {
    /// The field.
    pub field: &'static str,
    /// Its value.
    pub value: ConfigValue,
    /// What it must be.
    pub rule: &'static str,
}

/// The value of a field of [`Config`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigValue {
    /// A number of bytes, or of whatever the field counts.
    Number(u64),
    /// A time.
    Time(Duration),
}

impl fmt::Display for ConfigValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            // `Duration` writes a time as people do only in its debugging form: 8s, 250ms.
            Self::Time(time) => write!(f, "{time:?}"),
        }
    }
}

impl From<u64> for ConfigValue {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for ConfigValue {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u8> for ConfigValue {
    fn from(number: u8) -> Self {
        Self::Number(number.into())
    }
}

impl From<usize> for ConfigValue {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

impl From<Duration> for ConfigValue {
    fn from(time: Duration) -> Self {
        Self::Time(time)
    }
}

/// The error of a rule that does not hold.
fn must(
    holds: bool,
    field: &'static str,
    value: impl Into<ConfigValue>,
    rule: &'static str,
) -> Result<(), ConfigError> {
    match holds {
        true => Ok(()),
        false => Err(ConfigError {
            field,
            value: value.into(),
            rule,
        }),
    }
}

impl Config {
    /// Checks what would make the protocol stand still.
    ///
    /// # Errors
    ///
    /// The first field whose value cannot work, with that value and the rule.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_budgets()?;
        self.check_message_cap()?;
        self.check_replies()?;
        self.check_what_is_announced()?;
        self.check_attachments()?;
        self.check_times()?;
        self.check_return()?;
        self.reconnect.check()
    }

    fn check_budgets(&self) -> Result<(), ConfigError> {
        let budget = self.receive_budget;
        must(
            budget >= LEAST_BUDGET,
            "receive_budget",
            budget,
            "at least 16 KiB",
        )?;
        must(
            (640..=budget / 16).contains(&self.flow_floor),
            "flow_floor",
            self.flow_floor,
            "at least 640 bytes (a small slice) and at most a sixteenth of receive_budget",
        )?;
        must(
            self.answers >= 64 * 1024,
            "answers",
            self.answers,
            "at least 64 KiB, so that a burst of attachments closes no link",
        )
    }

    fn check_message_cap(&self) -> Result<(), ConfigError> {
        let cap = self.message_cap;
        must(
            cap <= self.reassembly_cap / 4,
            "message_cap",
            cap,
            "at most a quarter of reassembly_cap, which is the share of a pair",
        )?;
        let fits = u32::try_from(cap).is_ok();
        must(fits, "message_cap", cap, "below 4 GiB")
    }

    fn check_replies(&self) -> Result<(), ConfigError> {
        let credit = u64::from(self.reply_credit);
        must(
            (1024..=self.reply_reserve).contains(&credit),
            "reply_credit",
            credit,
            "at least 1 KiB and at most reply_reserve",
        )?;
        // The rule above keeps the divisor from zero.
        must(
            self.reply_reserve / credit <= 32_768,
            "reply_reserve",
            self.reply_reserve,
            "at most 32,768 times reply_credit: a mark names the flow of each reply, in one frame",
        )?;
        must(
            self.pending_requests <= 1500,
            "pending_requests",
            self.pending_requests,
            "at most 1,500: a mark names the flow of each reply, in one frame",
        )
    }

    fn check_what_is_announced(&self) -> Result<(), ConfigError> {
        must(
            self.namespaces <= limits::NAMESPACES,
            "namespaces",
            self.namespaces,
            "at most 1,024, which every hub takes",
        )?;
        must(
            self.names <= limits::NAMES,
            "names",
            self.names,
            "at most 1,024, which every hub takes",
        )
    }

    fn check_attachments(&self) -> Result<(), ConfigError> {
        let rule = "at most 128, which a hub holds of one sender for one receiver";
        must(
            usize::from(self.attachments) <= limits::PAIR_ATTACHMENTS,
            "attachments",
            self.attachments,
            rule,
        )?;
        must(
            self.attachments_pair <= limits::PAIR_ATTACHMENTS,
            "attachments_pair",
            self.attachments_pair,
            rule,
        )
    }

    fn check_times(&self) -> Result<(), ConfigError> {
        for (field, time) in [
            ("deadline", self.deadline),
            ("hello_deadline", self.hello_deadline),
            ("frame_deadline", self.frame_deadline),
        ] {
            must(!time.is_zero(), field, time, "more than zero")?;
        }
        must(
            self.lease > self.keepalive,
            "lease",
            self.lease,
            "above keepalive: a link is silent until it is probed",
        )
    }

    fn check_return(&self) -> Result<(), ConfigError> {
        let longest = self.reconnect.longest().saturating_add(MARGIN);
        must(
            self.role == Role::Member || self.return_grace >= longest,
            "return_grace",
            self.return_grace,
            "at least a second above the longest delay of reconnect (max and its jitter), \
             within which every member that lives comes",
        )
    }
}

impl Reconnect {
    fn check(&self) -> Result<(), ConfigError> {
        let first = self.first;
        must(!first.is_zero(), "reconnect.first", first, "more than zero")?;
        must(
            self.factor >= 1,
            "reconnect.factor",
            self.factor,
            "at least 1",
        )?;
        must(
            self.jitter <= 100,
            "reconnect.jitter",
            self.jitter,
            "at most 100",
        )
    }

    /// The longest delay between two attempts.
    fn longest(&self) -> Duration {
        let spread = self.max.saturating_mul(self.jitter) / 100;
        self.max.saturating_add(spread)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    type Tune = fn(&mut Config);

    #[test]
    fn each_rule_names_its_field_and_the_value_that_breaks_it() {
        let wrong: [(&str, &str, Tune); 21] = [
            ("receive_budget", "16383", |c| c.receive_budget = 16_383),
            ("flow_floor", "639", |c| c.flow_floor = 639),
            ("flow_floor", "524289", |c| {
                c.flow_floor = (8 << 20) / 16 + 1
            }),
            ("answers", "65535", |c| c.answers = 65_535),
            ("message_cap", "16777217", |c| {
                c.message_cap = (16 << 20) + 1
            }),
            ("message_cap", "4294967296", |c| {
                c.message_cap = 1 << 32;
                c.reassembly_cap = 1 << 34;
            }),
            ("reply_credit", "1023", |c| c.reply_credit = 1023),
            ("reply_credit", "16384", |c| c.reply_reserve = 16_383),
            ("reply_reserve", "33555456", |c| {
                c.reply_credit = 1024;
                c.reply_reserve = (32 << 20) + 1024;
            }),
            ("pending_requests", "1501", |c| c.pending_requests = 1501),
            ("namespaces", "1025", |c| c.namespaces = 1025),
            ("names", "1025", |c| c.names = 1025),
            ("attachments", "129", |c| c.attachments = 129),
            ("attachments_pair", "129", |c| c.attachments_pair = 129),
            ("deadline", "0ns", |c| c.deadline = Duration::ZERO),
            ("hello_deadline", "0ns", |c| {
                c.hello_deadline = Duration::ZERO
            }),
            ("lease", "2.5s", |c| c.lease = c.keepalive),
            ("return_grace", "7.249s", |c| {
                c.role = Role::Hub;
                c.return_grace = Duration::from_millis(7249);
            }),
            ("reconnect.first", "0ns", |c| {
                c.reconnect.first = Duration::ZERO
            }),
            ("reconnect.factor", "0", |c| c.reconnect.factor = 0),
            ("reconnect.jitter", "101", |c| c.reconnect.jitter = 101),
        ];
        assert_eq!(Config::default().check(), Ok(()));
        for (field, value, tune) in wrong {
            let mut config = Config::default();
            tune(&mut config);
            let error = config.check().expect_err(field);
            assert_eq!(error.field, field);
            let says = alloc::format!("config: {field} is {value}, but must be ");
            assert!(error.to_string().starts_with(&says), "{error}");
        }
    }

    #[test]
    fn what_is_just_within_its_limit_is_taken() {
        let config = Config {
            role: Role::Hub,
            receive_budget: LEAST_BUDGET,
            flow_floor: 1024,
            message_cap: u32::MAX.into(),
            reassembly_cap: 16 << 30,
            reply_credit: 1024,
            reply_reserve: 32 << 20,
            pending_requests: 1500,
            answers: 64 * 1024,
            attachments: 128,
            attachments_pair: 128,
            return_grace: Duration::from_millis(7250),
            ..Config::default()
        };
        assert_eq!(config.check(), Ok(()));
    }
}
