//! The death of a worker in the middle of its work, and what is said of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use switchboard_mio::{Generation, PeerId, RequestError, RequestId};

use super::stage::Stage;
use super::words::{Done, FAULT_CODE, JOB, Job, WORK, Work};

/// How many jobs are asked for; a peer has at most 1,024 requests of another one at a time.
const JOBS: u64 = 1000;
/// After how many outcomes the worker is killed.
const ENOUGH: usize = 300;
/// The weight of a job, in bytes: all of them are more than is sent ahead to a busy worker, so that
/// some have not left when it dies.
const WEIGHT: usize = 8 * 1024;

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Kill {
    /// Requests made.
    pub requests: u64,
    /// Outcomes: the handler returned a value.
    pub reply: u64,
    /// Outcomes: the handler failed, as every tenth does.
    pub failed: u64,
    /// Outcomes: certainly never started.
    pub not_run: u64,
    /// Outcomes: may have run.
    pub unknown: u64,
    /// Of the unknown ones: those that had begun, by what the worker wrote down.
    pub unknown_begun: u64,
    /// Outcomes that are not true, by what the worker wrote down.
    pub untrue: u64,
    /// Jobs that the worker began twice.
    pub ran_twice: u64,
    /// Who died, `5#1`.
    pub before: String,
    /// Who came back, `5#2`.
    pub after: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Reply,
    Failed,
    NotRun,
    Unknown,
}

/// Kills the worker, and compares what the outcomes say with what it wrote down.
///
/// # Errors
///
/// An outcome is missing or untrue, or the worker does not come back as itself.
pub fn run(stage: &mut Stage, name: &str, log: &Path) -> Result<Kill> {
    let (id, generation) = identity(stage, name)?;
    let pid = stage.worker(name)?.pid().context("it does not run")?;
    let jobs = ask_all(stage, name, generation)?;
    let mut told = BTreeMap::new();
    collect(stage, &jobs, &mut told, ENOUGH)?;

    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // Its supervisor has not reaped it, so the number is still this worker's.
    kill_process(process.context("a pid")?, Signal::KILL)?;
    collect(stage, &jobs, &mut told, jobs.len())?;

    stage.wait(&format!("{name} to come back"), |stage| {
        let up = stage.up(name);
        Ok(up.is_some_and(|peer| peer.generation > generation))
    })?;
    let again = identity(stage, name)?;
    ensure!(
        again == (id, Generation(generation.0 + 1)),
        "{id}#{generation} came back as {}#{}",
        again.0,
        again.1
    );
    ensure!(
        stage.restarts() == 1,
        "it was restarted {} times",
        stage.restarts()
    );
    // After its answer nothing of before can still be on its way.
    let work = Work { n: 7, order: 0 };
    let done: Done = stage.ask(WORK, &work, name)?;
    ensure!(done.square == 49, "the new {name} cannot count: {done:?}");

    let mut kill = judge(&told, &ran(log)?);
    kill.before = format!("{id}#{generation}");
    kill.after = format!("{}#{}", again.0, again.1);
    ensure!(kill.untrue == 0, "{} outcomes are untrue", kill.untrue);
    ensure!(kill.ran_twice == 0, "{} jobs ran twice", kill.ran_twice);
    ensure!(
        kill.not_run + kill.unknown > 0,
        "the worker was done before it was killed, which shows nothing"
    );
    Ok(kill)
}

fn identity(stage: &Stage, name: &str) -> Result<(PeerId, Generation)> {
    let peer = stage
        .up(name)
        .with_context(|| format!("{name} is not up"))?;
    Ok((peer.id, peer.generation))
}

/// To this very generation, so that none of them waits for the next one.
fn ask_all(
    stage: &mut Stage,
    name: &str,
    generation: Generation,
) -> Result<BTreeMap<RequestId, u64>> {
    let to = format!("{name}#{generation}");
    let filler = "x".repeat(WEIGHT);
    let mut jobs = BTreeMap::new();
    for n in 0..JOBS {
        let job = Job {
            n,
            filler: filler.clone(),
        };
        let request = stage.board().request(JOB, &job).to(to.as_str());
        jobs.insert(request.send()?, n);
    }
    Ok(jobs)
}

/// Takes outcomes until there are so many.
fn collect(
    stage: &mut Stage,
    jobs: &BTreeMap<RequestId, u64>,
    told: &mut BTreeMap<u64, Told>,
    enough: usize,
) -> Result<()> {
    stage.wait("the outcomes of the jobs", |stage| {
        while let Some((id, outcome, _)) = stage.any_outcome() {
            let n = *jobs.get(&id).context("an outcome of no job")?;
            let outcome = match outcome.decode::<u64>() {
                Ok(same) => {
                    ensure!(same == n, "job {n} was answered with {same}");
                    Told::Reply
                }
                Err(RequestError::Failed(fault)) => {
                    ensure!(
                        fault.code == FAULT_CODE,
                        "job {n} failed otherwise: {fault}"
                    );
                    Told::Failed
                }
                Err(RequestError::NotRun(_)) => Told::NotRun,
                Err(RequestError::Unknown(_)) => Told::Unknown,
                Err(other) => bail!("job {n}: {other}"),
            };
            let before = told.insert(n, outcome);
            ensure!(before.is_none(), "job {n} has two outcomes");
        }
        Ok(told.len() >= enough)
    })
}

/// How often each job was begun, as the worker wrote it down.
fn ran(log: &Path) -> Result<BTreeMap<u64, u64>> {
    let bytes = fs::read(log).with_context(|| format!("reading {}", log.display()))?;
    let mut ran = BTreeMap::new();
    let (numbers, rest) = bytes.as_chunks::<8>();
    ensure!(rest.is_empty(), "half a number was written down");
    for number in numbers {
        *ran.entry(u64::from_le_bytes(*number)).or_default() += 1;
    }
    Ok(ran)
}

fn judge(told: &BTreeMap<u64, Told>, ran: &BTreeMap<u64, u64>) -> Kill {
    let count = |what| told.values().filter(|told| **told == what).count() as u64;
    let times = |n: &u64| ran.get(n).copied().unwrap_or(0);
    let true_of = |(n, told): &(&u64, &Told)| match told {
        Told::Reply | Told::Failed => times(n) == 1,
        Told::NotRun => times(n) == 0,
        Told::Unknown => times(n) <= 1,
    };
    let unknown = |(n, told): &(&u64, &Told)| **told == Told::Unknown && times(n) == 1;
    Kill {
        requests: told.len() as u64,
        reply: count(Told::Reply),
        failed: count(Told::Failed),
        not_run: count(Told::NotRun),
        unknown: count(Told::Unknown),
        unknown_begun: told.iter().filter(unknown).count() as u64,
        untrue: told.iter().filter(|entry| !true_of(entry)).count() as u64,
        ran_twice: ran.values().filter(|times| **times > 1).count() as u64,
        before: String::new(),
        after: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_untrue_outcome_is_found() {
        let told = |outcome| BTreeMap::from([(1, outcome)]);
        let ran = |times: u64| match times {
            0 => BTreeMap::new(),
            times => BTreeMap::from([(1, times)]),
        };
        for (outcome, times, untrue) in [
            (Told::Reply, 1, 0),
            (Told::Reply, 0, 1),
            (Told::Failed, 0, 1),
            (Told::NotRun, 0, 0),
            (Told::NotRun, 1, 1),
            (Told::Unknown, 0, 0),
            (Told::Unknown, 1, 0),
            (Told::Unknown, 2, 1),
        ] {
            let kill = judge(&told(outcome), &ran(times));
            assert_eq!(kill.untrue, untrue, "{outcome:?} ran {times} times");
        }
    }
}
