//! Workers that are other processes: which task goes to whom, and what becomes of it when one dies.
//!
//! A fleet is arithmetic over its members and their tasks: it neither starts a process nor sends a byte. Its owner tells
//! it what has happened and asks for the next [`Move`] until there is none.
//!
//! Life cycle of a task
//! --------------------
//! Queued, sent to a member, returned. How many tasks a member may hold depends on how long they take: as many as it does
//! in [`AHEAD_NS`], so that it need not wait for the next of many small ones, and a long one stands alone. What stands
//! behind a task that takes longer than the others is recalled, and goes to the front of the queue, in order. So does, when
//! a member dies, what it had not begun; the task that it was running is handed back to the owner as the guilty one.
//!
//! Guarantees
//! ----------
//! - Every task comes back once: returned, guilty or drained.
//! - A resting member gets a task before a busy one gets a second.
//! - Tasks are sent in the order in which they were submitted, but for those that a death or a recall brings back.
//! - A member's tasks have growing numbers; a task that is sent again has a new one.

use std::collections::{BTreeMap, VecDeque};

/// How much work a member may hold, as far as the time that tasks have taken tells.
const AHEAD_NS: u64 = 500_000;
/// How many tasks it may hold, however small they are.
const MOST: usize = 64;

/// The members and the tasks of a pool of processes.
#[derive(Debug)]
pub struct Fleet<J> {
    queue: VecDeque<J>,
    members: BTreeMap<u32, Member<J>>,
    limit: usize,
    tasks_per_member: Option<u64>,
    /// How long tasks take: a longer one is believed at once, shorter ones by and by.
    pace_ns: u64,
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
    /// Whether the task that it is at takes longer than others do.
    is_held_up: bool,
    /// Whether it leaves when it has done what it holds.
    is_retired: bool,
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
    pub guilty: Option<J>,
    /// Whether it had ever been ready. One that was not would be followed by others like it.
    pub was_ready: bool,
}

impl<J> Fleet<J> {
    /// A fleet of at most `limit` members, each of which leaves after so many tasks.
    pub fn new(limit: usize, tasks_per_member: Option<u64>) -> Self {
        Self {
            queue: VecDeque::new(),
            members: BTreeMap::new(),
            limit,
            tasks_per_member,
            pace_ns: u64::MAX,
            next_task: 1,
            next_member: 1,
        }
    }

    /// Adds a task.
    pub fn submit(&mut self, job: J) {
        self.queue.push_back(job);
    }

    /// Adds a task that has been here before, to the front.
    pub fn submit_first(&mut self, job: J) {
        self.queue.push_front(job);
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
        let depth = self.depth();
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
        let member = self.members.get(&member)?;
        member.place(number).map(|place| &member.held[place])
    }

    /// How many tasks a member holds.
    pub fn held(&self, member: u32) -> usize {
        self.members.get(&member).map_or(0, |member| member.held.len())
    }

    /// The task that a member is at, or is about to begin.
    pub fn first_sent(&self, member: u32) -> Option<&Sent<J>> {
        self.members.get(&member)?.held.front()
    }

    /// Takes a task from a member, whatever it does with it.
    pub fn take_any(&mut self, member: u32) -> Option<J> {
        self.members.get_mut(&member)?.held.pop_front().map(|task| task.job)
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

    /// Says that a member has ended a task, and how long that took; takes the task.
    pub fn returned(&mut self, member: u32, number: u64, spent_ns: u64) -> Option<J> {
        let job = self.take(member, number)?;
        self.keep_pace(spent_ns);
        Some(job)
    }

    /// Learns how long a task takes, or has taken so far.
    pub fn keep_pace(&mut self, spent_ns: u64) {
        let is_first = self.pace_ns == u64::MAX;
        let eased = if is_first { 0 } else { self.pace_ns - self.pace_ns / 8 };
        self.pace_ns = spent_ns.max(eased);
    }

    /// Takes a task that a member does not begin after all.
    pub fn take(&mut self, member: u32, number: u64) -> Option<J> {
        let member = self.members.get_mut(&member)?;
        let place = member.place(number)?;
        member.is_held_up = false;
        member.held.remove(place).map(|task| task.job)
    }

    /// The members that hold tasks behind the one that they are at.
    pub fn laden(&self) -> impl Iterator<Item = u32> + '_ {
        self.members.iter().filter(|(_, member)| member.held.len() > 1).map(|(name, _)| *name)
    }

    /// Takes back what a member has not claimed, the last task that it has being `claimed`.
    pub fn recall(&mut self, member: u32, claimed: u64) {
        let Some(member) = self.members.get_mut(&member) else { return };
        member.is_held_up = true;
        let begun = member.held.partition_point(|task| task.number <= claimed);
        for task in member.held.drain(begun..).rev() {
            member.given -= 1;
            self.queue.push_front(task.job);
        }
    }

    /// Has a member leave when it has done what it holds.
    pub fn retire(&mut self, member: u32) {
        if let Some(member) = self.members.get_mut(&member) {
            member.is_retired = true;
        }
    }

    /// Takes the first task of a kind that has not been sent.
    pub fn take_waiting(&mut self, is_it: impl Fn(&J) -> bool) -> Option<J> {
        let place = self.queue.iter().position(is_it)?;
        self.queue.remove(place)
    }

    /// The first task of a kind that was sent: by which member it is held, and its number.
    pub fn find_sent(&self, is_it: impl Fn(&J) -> bool) -> Option<(u32, u64)> {
        let mut members = self.members.iter();
        members.find_map(|(name, member)| {
            let task = member.held.iter().find(|task| is_it(&task.job))?;
            Some((*name, task.number))
        })
    }

    /// Says that a member found a task to be recalled after it had claimed it.
    pub fn came_back(&mut self, member: u32, number: u64) {
        let Some(job) = self.take(member, number) else { return };
        if let Some(member) = self.members.get_mut(&member) {
            member.given -= 1;
        }
        self.queue.push_front(job);
    }

    /// Says that a member is gone, and which task it had begun.
    pub fn died(&mut self, member: u32, current: Option<u64>) -> Loss<J> {
        let Some(mut gone) = self.members.remove(&member) else { return Loss { guilty: None, was_ready: false } };
        let place = current.and_then(|number| gone.place(number));
        let guilty = place.and_then(|place| gone.held.remove(place)).map(|task| task.job);
        for task in gone.held.into_iter().rev() {
            self.queue.push_front(task.job);
        }
        Loss { guilty, was_ready: gone.is_ready }
    }

    /// Takes all tasks that have not been sent.
    pub fn drain(&mut self) -> Vec<J> {
        std::mem::take(&mut self.queue).into()
    }

    /// Makes do with the members there are.
    pub fn shrink(&mut self) {
        self.limit = self.members.len();
    }

    /// Allows for more members.
    pub fn grow(&mut self, limit: usize) {
        self.limit = self.limit.max(limit);
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

    /// How many tasks a member may hold.
    fn depth(&self) -> usize {
        ((AHEAD_NS / self.pace_ns.max(1)) as usize).clamp(1, MOST)
    }

    fn spent(&self) -> Option<u32> {
        let most = self.tasks_per_member;
        let mut members = self.members.iter();
        members.find(|(_, member)| member.is_spent(most) && member.held.is_empty()).map(|(name, _)| *name)
    }

    fn wants_member(&self) -> bool {
        let starting = self.members.values().filter(|member| !member.is_ready && member.held.is_empty()).count();
        self.members.len() < self.limit && starting < self.queue.len()
    }

    fn hire(&mut self) -> u32 {
        let name = self.next_member;
        self.next_member += 1;
        let member = Member { held: VecDeque::new(), given: 0, is_ready: false, is_held_up: false, is_retired: false };
        self.members.insert(name, member);
        name
    }

    fn send(&mut self, name: u32) -> Option<Move> {
        let member = self.members.get_mut(&name)?;
        member.held.push_back(Sent { number: self.next_task, job: self.queue.pop_front()? });
        member.given += 1;
        self.next_task += 1;
        Some(Move::Send(name))
    }
}

impl<J> Member<J> {
    fn is_open(&self, depth: usize, most: Option<u64>) -> bool {
        // One that is starting may hold its first task already, and no more: others may be ready before it.
        let depth = if self.is_ready && !self.is_held_up { depth } else { 1 };
        self.held.len() < depth && !self.is_spent(most)
    }

    fn is_spent(&self, most: Option<u64>) -> bool {
        self.is_retired || self.given >= most.unwrap_or(u64::MAX)
    }

    fn place(&self, number: u64) -> Option<usize> {
        self.held.binary_search_by_key(&number, |task| task.number).ok()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TINY: u64 = 5_000;

    fn moves(fleet: &mut Fleet<u32>) -> Vec<Move> {
        std::iter::from_fn(|| fleet.next_move()).collect()
    }

    /// A fleet whose members are ready, and have each done a task of a length.
    fn started(limit: usize, pace_ns: u64) -> Fleet<u32> {
        let mut fleet = Fleet::new(limit, None);
        for number in 0..limit as u32 {
            fleet.submit(number);
        }
        moves(&mut fleet);
        for name in 1..=limit as u32 {
            fleet.is_ready(name);
            let number = fleet.first_sent(name).unwrap().number;
            assert!(fleet.returned(name, number, pace_ns).is_some());
        }
        fleet
    }

    fn jobs(fleet: &Fleet<u32>, member: u32) -> Vec<u32> {
        fleet.members[&member].held.iter().map(|task| task.job).collect()
    }

    #[test]
    fn hires_as_many_as_there_are_tasks_up_to_the_limit() {
        let mut fleet = Fleet::new(2, None);
        fleet.submit(0);
        assert_eq!(moves(&mut fleet), [Move::Hire(1), Move::Send(1)]);
        fleet.submit(1);
        fleet.submit(2);
        assert_eq!(moves(&mut fleet), [Move::Hire(2), Move::Send(2)]);
        assert_eq!(fleet.waiting(), 1, "one that is starting gets one task");
    }

    #[test]
    fn a_fleet_that_may_grow_hires_for_what_waits() {
        let mut fleet = started(1, 2 * AHEAD_NS);
        (0..3).for_each(|number| fleet.submit(number));
        assert_eq!(moves(&mut fleet), [Move::Send(1)]);
        fleet.grow(2);
        assert_eq!(moves(&mut fleet), [Move::Hire(2), Move::Send(2)]);
        fleet.grow(1);
        assert_eq!(fleet.limit(), 2);
    }

    #[test]
    fn everybody_has_one_before_anybody_has_two() {
        let mut fleet = started(2, AHEAD_NS / 2);
        for number in 2..8 {
            fleet.submit(number);
        }
        assert_eq!(moves(&mut fleet), [Move::Send(1), Move::Send(2), Move::Send(1), Move::Send(2)]);
        assert_eq!(fleet.waiting(), 2);
    }

    #[test]
    fn the_longer_they_take_the_fewer_are_held() {
        for (pace_ns, held) in [(1, MOST), (TINY, MOST), (AHEAD_NS / 10, 10), (AHEAD_NS, 1), (u64::MAX - 1, 1)] {
            let mut fleet = started(1, pace_ns);
            (0..100).for_each(|number| fleet.submit(number));
            moves(&mut fleet);
            assert_eq!(fleet.held(1), held, "at {pace_ns} ns");
        }
    }

    #[test]
    fn a_long_task_is_believed_at_once_and_short_ones_by_and_by() {
        let mut fleet = started(1, TINY);
        fleet.submit(1);
        moves(&mut fleet);
        fleet.returned(1, fleet.first_sent(1).unwrap().number, 10 * AHEAD_NS);
        assert_eq!(fleet.depth(), 1);
        (0..100).for_each(|_| fleet.keep_pace(TINY));
        assert_eq!(fleet.depth(), MOST);
    }

    #[test]
    fn what_stands_behind_a_long_task_goes_elsewhere() {
        let mut fleet = started(2, TINY);
        (10..16).for_each(|number| fleet.submit(number));
        moves(&mut fleet);
        assert_eq!((jobs(&fleet, 1), jobs(&fleet, 2)), (vec![10, 12, 14], vec![11, 13, 15]));
        assert_eq!(fleet.laden().collect::<Vec<_>>(), [1, 2]);
        for _ in 0..3 {
            let number = fleet.first_sent(2).unwrap().number;
            fleet.returned(2, number, TINY);
        }
        let at = fleet.first_sent(1).unwrap().number;
        fleet.keep_pace(AHEAD_NS * 2);
        fleet.recall(1, at);
        assert_eq!(moves(&mut fleet), [Move::Send(2)], "tasks seem to be long now");
        fleet.returned(2, fleet.first_sent(2).unwrap().number, TINY);
        assert_eq!(moves(&mut fleet), [Move::Send(2)]);
        assert_eq!((jobs(&fleet, 1), jobs(&fleet, 2)), (vec![10], vec![14]), "in their old order");
    }

    #[test]
    fn a_recall_that_comes_too_late_is_answered() {
        let mut fleet = started(1, TINY);
        (10..13).for_each(|number| fleet.submit(number));
        moves(&mut fleet);
        let numbers: Vec<u64> = fleet.members[&1].held.iter().map(|task| task.number).collect();
        fleet.recall(1, numbers[1]);
        assert_eq!((jobs(&fleet, 1), fleet.waiting()), (vec![10, 11], 1));
        fleet.came_back(1, numbers[1]);
        fleet.came_back(1, numbers[2]);
        assert_eq!((jobs(&fleet, 1), fleet.drain()), (vec![10], vec![11, 12]));
    }

    #[test]
    fn a_death_costs_the_task_that_ran_and_no_other() {
        let mut fleet = started(1, TINY);
        (10..13).for_each(|number| fleet.submit(number));
        moves(&mut fleet);
        let loss = fleet.died(1, fleet.first_sent(1).map(|task| task.number));
        assert_eq!(loss.guilty, Some(10));
        assert_eq!(moves(&mut fleet), [Move::Hire(2), Move::Send(2)]);
        fleet.is_ready(2);
        moves(&mut fleet);
        assert_eq!(jobs(&fleet, 2), [11, 12], "in their old order");
    }

    #[test]
    fn a_death_between_tasks_costs_nothing() {
        let mut fleet = started(1, TINY);
        fleet.submit(1);
        moves(&mut fleet);
        assert!(fleet.died(1, None).guilty.is_none());
        assert_eq!(fleet.waiting(), 1);
    }

    #[test]
    fn a_member_leaves_after_its_share() {
        let mut fleet = Fleet::new(1, Some(1));
        fleet.submit(0);
        fleet.submit(1);
        assert_eq!(moves(&mut fleet), [Move::Hire(1), Move::Send(1)]);
        fleet.is_ready(1);
        let number = fleet.first_sent(1).unwrap().number;
        assert!(fleet.returned(1, number, TINY).is_some());
        assert_eq!(moves(&mut fleet), [Move::Release(1), Move::Hire(2), Move::Send(2)]);
    }

    #[test]
    fn one_that_is_retired_does_what_it_holds_and_leaves() {
        let mut fleet = started(1, TINY);
        fleet.submit(1);
        moves(&mut fleet);
        fleet.retire(1);
        fleet.submit(2);
        assert_eq!(moves(&mut fleet), []);
        let (member, number) = fleet.find_sent(|job| *job == 1).unwrap();
        fleet.returned(member, number, TINY);
        assert_eq!(moves(&mut fleet), [Move::Release(1), Move::Hire(2), Move::Send(2)]);
        assert!(fleet.take_waiting(|job| *job == 2).is_none(), "it is sent");
    }

    proptest! {
        #[test]
        fn every_task_comes_back_once(acts in prop::collection::vec((0..8_u8, 0..64_u64), 1..200)) {
            let mut fleet = Fleet::new(3, Some(5));
            let (mut submitted, mut back) = (0_u32, Vec::new());
            let mut live: Vec<u32> = Vec::new();
            let mut act = |fleet: &mut Fleet<u32>, kind: u8, pick: u64, back: &mut Vec<u32>| {
                let member = live.get(pick as usize % live.len().max(1)).copied();
                match (kind, member) {
                    (0 | 1, _) => { fleet.submit(submitted); submitted += 1; }
                    (2, Some(member)) => fleet.is_ready(member),
                    (3, Some(member)) => back.extend(fleet.returned(member, pick, pick * 10_000)),
                    (4, Some(member)) => {
                        live.retain(|other| *other != member);
                        back.extend(fleet.died(member, Some(pick)).guilty);
                    }
                    (5, Some(member)) => fleet.recall(member, pick),
                    (7, Some(member)) => fleet.retire(member),
                    (6, Some(member)) => fleet.came_back(member, pick),
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
            back.extend(fleet.drain());
            for member in fleet.members().collect::<Vec<_>>() {
                fleet.died(member, None);
            }
            back.extend(fleet.drain());
            back.sort_unstable();
            prop_assert_eq!(back, (0..submitted).collect::<Vec<_>>());
        }
    }
}
