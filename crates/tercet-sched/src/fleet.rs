//! Workers that are other processes: which task goes to whom, and what becomes of it when one dies.
//!
//! A fleet is arithmetic over its members and their tasks: it neither starts a process nor sends a byte. Its owner tells
//! it what has happened and asks for the next [`Move`] until there is none.
//!
//! Life cycle of a task
//! --------------------
//! Queued, sent to a member, returned. A member holds at most [`Fleet::depth`] tasks, so that it need not wait for the
//! next one and yet little is bound to it. When it dies, the task it was running is handed back to the owner as the
//! guilty one; what it had not begun goes back to the front of the queue, in order, as if it had never been sent.
//!
//! Guarantees
//! ----------
//! - Every task comes back once: returned, guilty, cancelled or drained.
//! - A resting member gets a task before a busy one gets a second.
//! - Tasks are sent in the order in which they were submitted, but for those that a death brings back.

use std::collections::{BTreeMap, VecDeque};

/// The members and the tasks of a pool of processes.
#[derive(Debug)]
pub struct Fleet<J> {
    queue: VecDeque<Sent<J>>,
    members: BTreeMap<u32, Member<J>>,
    limit: usize,
    depth: usize,
    tasks_per_member: Option<u64>,
    next_task: u64,
    next_member: u32,
}

/// A task with its number.
#[derive(Debug)]
pub struct Sent<J> {
    /// What the messages call it.
    pub number: u64,
    /// What it is.
    pub job: J,
}

#[derive(Debug)]
struct Member<J> {
    held: VecDeque<Sent<J>>,
    given: u64,
    is_ready: bool,
}

/// What the owner is to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Move {
    /// Start a process that is this member.
    Hire(u32),
    /// Send the member the task at the back of what it holds: see [`Fleet::last_sent`].
    Send(u32),
    /// Let the member leave: it has had its share of tasks and holds none.
    Release(u32),
}

/// What a death has left behind.
#[derive(Debug)]
pub struct Loss<J> {
    /// The task it was running.
    pub guilty: Option<Sent<J>>,
    /// How many tasks went back to the queue.
    pub saved: usize,
    /// Whether it had ever been ready. One that was not would be followed by others like it.
    pub was_ready: bool,
}

impl<J> Fleet<J> {
    /// A fleet of at most `limit` members that hold at most `depth` tasks each.
    pub fn new(limit: usize, depth: usize, tasks_per_member: Option<u64>) -> Self {
        Self {
            queue: VecDeque::new(),
            members: BTreeMap::new(),
            limit,
            depth: depth.max(1),
            tasks_per_member,
            next_task: 1,
            next_member: 1,
        }
    }

    /// Adds a task and returns its number.
    pub fn submit(&mut self, job: J) -> u64 {
        let number = self.next_task;
        self.next_task += 1;
        self.queue.push_back(Sent { number, job });
        number
    }

    /// What is to be done next. The fleet assumes that it is done.
    pub fn next_move(&mut self) -> Option<Move> {
        if let Some(spent) = self.spent() {
            self.members.remove(&spent);
            return Some(Move::Release(spent));
        }
        if self.queue.is_empty() {
            return None;
        }
        let depth = self.depth;
        let open = self.members.iter().filter(|(_, member)| member.is_open(depth, self.tasks_per_member));
        let best = open.min_by_key(|(_, member)| member.held.len()).map(|(name, member)| (*name, member.held.len()));
        if let Some((name, held)) = best {
            // A second task is only bound to a member when no other can be had for it.
            if held == 0 || self.members.len() >= self.limit {
                return self.send(name);
            }
        }
        if self.wants_member() { Some(Move::Hire(self.hire())) } else { best.and_then(|(name, _)| self.send(name)) }
    }

    /// The task that a [`Move::Send`] is about.
    pub fn last_sent(&self, member: u32) -> Option<&Sent<J>> {
        self.members.get(&member)?.held.back()
    }

    /// A task that a member holds.
    pub fn sent(&self, member: u32, number: u64) -> Option<&Sent<J>> {
        self.members.get(&member)?.held.iter().find(|task| task.number == number)
    }

    /// How many tasks a member holds.
    pub fn held(&self, member: u32) -> usize {
        self.members.get(&member).map_or(0, |member| member.held.len())
    }

    /// Takes a task from a member, whatever it does with it.
    pub fn take_any(&mut self, member: u32) -> Option<Sent<J>> {
        self.members.get_mut(&member)?.held.pop_front()
    }

    /// Adds a task that has been here before, to the front.
    pub fn submit_first(&mut self, task: Sent<J>) {
        self.queue.push_front(task);
    }

    /// Takes back the task of a [`Move::Send`] that could not be sent, to the front of the queue.
    pub fn unsend(&mut self, member: u32) {
        if let Some(task) = self.members.get_mut(&member).and_then(|member| member.held.pop_back()) {
            self.queue.push_front(task);
        }
    }

    /// Adds members up to the limit, whether there are tasks for them or not.
    pub fn hire_all(&mut self) -> Vec<u32> {
        (self.members.len()..self.limit).map(|_| self.hire()).collect()
    }

    /// Says that a member can take tasks.
    pub fn is_ready(&mut self, member: u32) {
        if let Some(member) = self.members.get_mut(&member) {
            member.is_ready = true;
        }
    }

    /// Says that a member has ended a task, and takes the task.
    pub fn returned(&mut self, member: u32, number: u64) -> Option<Sent<J>> {
        let member = self.members.get_mut(&member)?;
        let place = member.held.iter().position(|task| task.number == number)?;
        member.held.remove(place)
    }

    /// Says that a member is gone, and which task it had begun.
    pub fn died(&mut self, member: u32, current: Option<u64>) -> Loss<J> {
        let gone = self.members.remove(&member);
        let was_ready = gone.as_ref().is_some_and(|member| member.is_ready);
        let mut held = gone.map(|member| member.held).unwrap_or_default();
        let place = current.and_then(|number| held.iter().position(|task| task.number == number));
        let guilty = place.and_then(|place| held.remove(place));
        let saved = held.len();
        for task in held.into_iter().rev() {
            self.queue.push_front(task);
        }
        Loss { guilty, saved, was_ready }
    }

    /// Takes a task that has not been sent.
    pub fn cancel(&mut self, number: u64) -> Option<Sent<J>> {
        let place = self.queue.iter().position(|task| task.number == number)?;
        self.queue.remove(place)
    }

    /// Takes all tasks that have not been sent.
    pub fn drain(&mut self) -> Vec<Sent<J>> {
        std::mem::take(&mut self.queue).into()
    }

    /// Which member holds a task.
    pub fn holder(&self, number: u64) -> Option<u32> {
        let mut members = self.members.iter();
        members.find(|(_, member)| member.held.iter().any(|task| task.number == number)).map(|(name, _)| *name)
    }

    /// How many members there may be.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The members there are.
    pub fn members(&self) -> impl Iterator<Item = u32> + '_ {
        self.members.keys().copied()
    }

    /// How many tasks have not been sent.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing waits and nobody holds a task.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.members.values().all(|member| member.held.is_empty())
    }

    fn spent(&self) -> Option<u32> {
        let most = self.tasks_per_member?;
        let mut members = self.members.iter();
        members.find(|(_, member)| member.given >= most && member.held.is_empty()).map(|(name, _)| *name)
    }

    fn wants_member(&self) -> bool {
        let starting = self.members.values().filter(|member| !member.is_ready && member.held.is_empty()).count();
        self.members.len() < self.limit && starting < self.queue.len()
    }

    fn hire(&mut self) -> u32 {
        let name = self.next_member;
        self.next_member += 1;
        self.members.insert(name, Member { held: VecDeque::new(), given: 0, is_ready: false });
        name
    }

    fn send(&mut self, name: u32) -> Option<Move> {
        let member = self.members.get_mut(&name)?;
        member.held.push_back(self.queue.pop_front()?);
        member.given += 1;
        Some(Move::Send(name))
    }
}

impl<J> Member<J> {
    fn is_open(&self, depth: usize, most: Option<u64>) -> bool {
        // One that is starting may hold its first task already, and no more: others may be ready before it.
        self.held.len() < if self.is_ready { depth } else { 1 } && most.is_none_or(|most| self.given < most)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn moves(fleet: &mut Fleet<u32>) -> Vec<Move> {
        std::iter::from_fn(|| fleet.next_move()).collect()
    }

    fn started(limit: usize, depth: usize) -> Fleet<u32> {
        let mut fleet = Fleet::new(limit, depth, None);
        for number in 0..limit as u32 {
            fleet.submit(number);
        }
        for hired in moves(&mut fleet) {
            if let Move::Hire(name) = hired {
                fleet.is_ready(name);
            }
        }
        fleet
    }

    #[test]
    fn hires_as_many_as_there_are_tasks_up_to_the_limit() {
        let mut fleet = Fleet::new(2, 2, None);
        fleet.submit(0);
        assert_eq!(moves(&mut fleet), [Move::Hire(1), Move::Send(1)]);
        fleet.submit(1);
        fleet.submit(2);
        assert_eq!(moves(&mut fleet), [Move::Hire(2), Move::Send(2)]);
        assert_eq!(fleet.waiting(), 1, "one that is starting gets one task");
    }

    #[test]
    fn everybody_has_one_before_anybody_has_two() {
        let mut fleet = started(2, 2);
        for task in [1, 2] {
            let member = fleet.holder(task).unwrap();
            assert!(fleet.returned(member, task).is_some());
        }
        for number in 2..8 {
            fleet.submit(number);
        }
        assert_eq!(moves(&mut fleet), [Move::Send(1), Move::Send(2), Move::Send(1), Move::Send(2)]);
        assert_eq!(fleet.waiting(), 2);
    }

    #[test]
    fn a_death_costs_the_task_that_ran_and_no_other() {
        let mut fleet = started(1, 3);
        fleet.submit(1);
        fleet.submit(2);
        moves(&mut fleet);
        let loss = fleet.died(1, Some(1));
        assert_eq!(loss.guilty.map(|task| task.job), Some(0));
        assert_eq!(loss.saved, 2);
        assert_eq!(moves(&mut fleet), [Move::Hire(2), Move::Send(2)]);
        fleet.is_ready(2);
        assert_eq!(moves(&mut fleet), [Move::Send(2)]);
        assert_eq!(fleet.returned(2, 2).map(|task| task.job), Some(1), "in their old order");
    }

    #[test]
    fn a_death_between_tasks_costs_nothing() {
        let mut fleet = started(1, 2);
        moves(&mut fleet);
        let loss = fleet.died(1, None);
        assert!(loss.guilty.is_none());
        assert_eq!(fleet.waiting(), 1);
    }

    #[test]
    fn a_member_leaves_after_its_share() {
        let mut fleet = Fleet::new(1, 2, Some(1));
        let first = fleet.submit(0);
        fleet.submit(1);
        assert_eq!(moves(&mut fleet), [Move::Hire(1), Move::Send(1)]);
        fleet.is_ready(1);
        assert!(fleet.returned(1, first).is_some());
        assert_eq!(moves(&mut fleet), [Move::Release(1), Move::Hire(2), Move::Send(2)]);
    }

    #[test]
    fn what_was_not_sent_can_be_cancelled() {
        let mut fleet = started(1, 1);
        let late = fleet.submit(7);
        moves(&mut fleet);
        assert_eq!(fleet.cancel(late).map(|task| task.job), Some(7));
        assert!(fleet.cancel(1).is_none(), "it is on its way");
    }

    proptest! {
        #[test]
        fn every_task_comes_back_once(acts in prop::collection::vec((0..6_u8, 0..64_u64), 1..200)) {
            let mut fleet = Fleet::new(3, 2, Some(5));
            let (mut submitted, mut back) = (0_u32, Vec::new());
            let mut live: Vec<u32> = Vec::new();
            let mut act = |fleet: &mut Fleet<u32>, kind: u8, pick: u64, back: &mut Vec<u32>| {
                let member = live.get(pick as usize % live.len().max(1)).copied();
                match (kind, member) {
                    (0 | 1, _) => { fleet.submit(submitted); submitted += 1; }
                    (2, Some(member)) => fleet.is_ready(member),
                    (3, Some(member)) => back.extend(fleet.returned(member, pick).map(|task| task.job)),
                    (4, Some(member)) => {
                        live.retain(|other| *other != member);
                        back.extend(fleet.died(member, Some(pick)).guilty.map(|task| task.job));
                    }
                    (5, _) => back.extend(fleet.cancel(pick).map(|task| task.job)),
                    _ => {}
                }
                while let Some(next) = fleet.next_move() {
                    match next {
                        Move::Hire(name) => live.push(name),
                        Move::Release(name) => live.retain(|other| *other != name),
                        Move::Send(name) => prop_assert!(fleet.last_sent(name).is_some()),
                    }
                }
                prop_assert!(live.len() <= 3);
                Ok(())
            };
            for (kind, pick) in acts {
                act(&mut fleet, kind, pick, &mut back)?;
            }
            back.extend(fleet.drain().into_iter().map(|task| task.job));
            for member in fleet.members().collect::<Vec<_>>() {
                fleet.died(member, None);
            }
            back.extend(fleet.drain().into_iter().map(|task| task.job));
            back.sort_unstable();
            prop_assert_eq!(back, (0..submitted).collect::<Vec<_>>());
        }
    }
}
