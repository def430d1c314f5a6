//! Where the acts take place: the hub, the workers, and what came in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use switchboard_mio::codec::{Decode, Encode};
use switchboard_mio::name::Call;
use switchboard_mio::{
    Board, Incoming, IntoTargets, PeerName, ReplyOutcome, RequestError, RequestId,
};
use switchboard_proto::{Peer, Presence};
use switchboard_stdio::ChildEvent;

use super::crew::{Plan, Worker};
use crate::args::Transport;
use crate::session::Session;

/// How long anything here may take. Nothing takes a tenth of it on a machine that is not busy.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How often to look at what does not come in by itself.
const LOOK: Duration = Duration::from_millis(10);

/// The hub with its workers.
#[derive(Debug)]
pub struct Stage {
    /// The hub, which is this process, and its loop.
    pub session: Session,
    /// The workers that run.
    pub workers: Vec<Worker>,
    plan: Plan,
    outcomes: BTreeMap<RequestId, (ReplyOutcome, Instant)>,
    /// How often a buffer that was full has had room again.
    pub room: u64,
    restarts: u64,
    /// How a supervised worker ended last.
    last_exit: Option<String>,
}

impl Stage {
    /// A stage without workers.
    pub fn new(session: Session, plan: Plan) -> Self {
        Self {
            session,
            workers: Vec::new(),
            plan,
            outcomes: BTreeMap::new(),
            room: 0,
            restarts: 0,
            last_exit: None,
        }
    }

    /// The hub.
    pub fn board(&mut self) -> &mut Board {
        &mut self.session.board
    }

    /// Starts a worker. Does not wait until it is there.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start(&mut self, name: &str, transport: Transport) -> Result<()> {
        let board = &mut self.session.board;
        let worker = self.plan.start(board, name, transport)?;
        self.workers.push(worker);
        Ok(())
    }

    /// The worker with this name.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn worker(&self, name: &str) -> Result<&Worker> {
        let worker = self.workers.iter().find(|worker| worker.name == name);
        worker.with_context(|| format!("there is no {name}"))
    }

    /// The peer with this name, if it is attached and has said what it handles.
    pub fn up(&self, name: &str) -> Option<&Peer> {
        let name = PeerName::new(name)?;
        let peer = self.session.board.roster().by_name(&name)?;
        let ready = peer.is_up && peer.presence == Presence::Attached && !peer.is_pending("");
        ready.then_some(peer)
    }

    /// Waits until workers are there.
    ///
    /// # Errors
    ///
    /// They are not in time.
    pub fn wait_up(&mut self, names: &[&str]) -> Result<()> {
        let what = format!("{} to be up", names.join(", "));
        self.wait(&what, |stage| {
            Ok(names.iter().all(|name| stage.up(name).is_some()))
        })
    }

    /// Waits until something is so, at most [`PATIENCE`].
    ///
    /// # Errors
    ///
    /// It is not in time, a worker failed, or Ctrl-C.
    pub fn wait(
        &mut self,
        what: &str,
        mut done: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while !done(self)? {
            let now = Instant::now();
            ensure!(now < until, "waited {PATIENCE:?} in vain for {what}");
            self.take_one(until.min(now + LOOK))?;
            self.hear_of_workers()?;
        }
        Ok(())
    }

    /// The outcome of a request, with the time at which it was there, if it is.
    pub fn outcome(&mut self, request: RequestId) -> Option<(ReplyOutcome, Instant)> {
        self.outcomes.remove(&request)
    }

    /// Any outcome that is there.
    pub fn any_outcome(&mut self) -> Option<(RequestId, ReplyOutcome, Instant)> {
        let (id, (outcome, at)) = self.outcomes.pop_first()?;
        Some((id, outcome, at))
    }

    /// Waits for the outcome of a request.
    ///
    /// # Errors
    ///
    /// It is not there in time.
    pub fn await_outcome(&mut self, request: RequestId, what: &str) -> Result<ReplyOutcome> {
        let mut found = None;
        self.wait(what, |stage| {
            found = stage.outcome(request);
            Ok(found.is_some())
        })?;
        let (outcome, _) = found.context("the wait ended without an outcome")?;
        Ok(outcome)
    }

    /// Asks one peer, and waits for its reply.
    ///
    /// # Errors
    ///
    /// There is no reply, or not in time.
    pub fn ask<M: Encode, R: Decode>(
        &mut self,
        call: Call<M, R>,
        value: &M,
        to: impl IntoTargets,
    ) -> Result<R> {
        let request = self.board().request(call, value).to(to);
        let request = request.deadline(PATIENCE).send().context(call.name())?;
        let outcome = self.await_outcome(request, &format!("the reply to {}", call.name()))?;
        outcome
            .decode()
            .map_err(|error: RequestError| anyhow::anyhow!("{}: {error}", call.name()))
    }

    /// How often a worker was started again.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Ends the workers in good order, then the hub.
    ///
    /// # Errors
    ///
    /// One of them does not end.
    pub fn close(mut self) -> Result<()> {
        let supervised = self.workers.iter().filter_map(Worker::supervised);
        supervised.for_each(switchboard_stdio::Child::stop);
        let runs = |stage: &Self| {
            let mut supervised = stage.workers.iter().filter_map(Worker::supervised);
            supervised.any(|child| !child.is_over())
        };
        let until = Instant::now() + PATIENCE;
        while runs(&self) {
            ensure!(
                Instant::now() < until,
                "the supervised workers did not end within {PATIENCE:?}"
            );
            // The end of a child is told by its handle and not by the hub.
            self.take_one(Instant::now() + LOOK)?;
        }
        // The others see the end of their connection, and end by themselves.
        self.session.leave();
        self.workers.into_iter().try_for_each(Worker::gone)
    }

    /// Takes one thing that came, or sleeps until one does, until then at the latest.
    fn take_one(&mut self, until: Instant) -> Result<()> {
        match self.session.next(Some(until))? {
            Some(Incoming::Reply { id, outcome }) => {
                let twice = self.outcomes.insert(id, (outcome, Instant::now()));
                ensure!(twice.is_none(), "a request got two outcomes");
            }
            Some(Incoming::Sendable(_)) => self.room += 1,
            Some(_) | None => {}
        }
        Ok(())
    }

    fn hear_of_workers(&mut self) -> Result<()> {
        for worker in &self.workers {
            let Some(child) = worker.supervised() else {
                continue;
            };
            while let Some(event) = child.next_event() {
                match event {
                    ChildEvent::Restarting { .. } => self.restarts += 1,
                    ChildEvent::Exited(exited) => self.last_exit = Some(exited.to_string()),
                    ChildEvent::SpawnFailed(error) => bail!("{}: {error}", worker.name),
                    ChildEvent::GaveUp(_) => {
                        let why = self.last_exit.take().unwrap_or_default();
                        bail!("{} keeps ending: {why}", worker.name);
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}
