//! The limits of this machine.

use std::fs;

use tercet_model::Machine;

/// The processors that process `pid` may use: its affinity, cut by the quotas of its control groups.
pub fn machine(pid: u32) -> Machine {
    let cores = affinity(pid).min(quota(pid).unwrap_or(f64::INFINITY)).max(1.0);
    Machine { cores, ..Machine::default() }
}

fn affinity(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .map(|list| f64::from(count(list.trim())))
        .filter(|&cores| cores > 0.0)
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64))
}

/// The numbers in a list such as `0-3,8`.
fn count(list: &str) -> u32 {
    list.split(',')
        .filter_map(|range| match range.split_once('-') {
            Some((low, high)) => Some(high.parse::<u32>().ok()?.saturating_sub(low.parse().ok()?) + 1),
            None => range.parse::<u32>().ok().map(|_| 1),
        })
        .sum()
}

/// The smallest quota on the way from the control group of the process to the root.
fn quota(pid: u32) -> Option<f64> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let steps = std::path::Path::new(path.trim_start_matches('/')).ancestors();
    steps
        .filter_map(|step| {
            let file = std::path::Path::new("/sys/fs/cgroup").join(step).join("cpu.max");
            parse_quota(&fs::read_to_string(file).ok()?)
        })
        .reduce(f64::min)
}

fn parse_quota(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_quotas() {
        assert_eq!([count("0-3,8"), count("5"), count("")], [5, 1, 0]);
        assert_eq!(parse_quota("150000 100000\n"), Some(1.5));
        assert_eq!(parse_quota("max 100000\n"), None);
    }

    #[test]
    fn this_process_may_use_at_least_one_core() {
        assert!(machine(std::process::id()).cores >= 1.0);
    }
}
