//! Prints the profile of a command, for work on the sampler itself.
use std::process::Command;
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut child = Command::new(&args[0]).args(&args[1..]).spawn().unwrap();
    let mut sampler = tercet_sampler::Sampler::new(child.id(), tercet_sampler::Options { hz: std::env::var("HZ").map_or(100.0, |h| h.parse().unwrap()), ..Default::default() }).unwrap();
    sampler.watch(|_| false);
    child.wait().unwrap();
    eprintln!("own {:.4} trouble {:?}", sampler.own_share(), sampler.trouble());
    let p = sampler.finish();
    println!("phases {:?} samples {}\nshares {:?}\nwork {:?}\ntasks {:?}\nsymptoms {:?}\npool {:?}\nloop {:?} traffic {:?}", p.phases, p.samples, p.shares.ranked(), p.work, p.tasks, p.symptoms, p.pool, p.event_loop, p.traffic);
    for l in p.lines.iter().take(8) { println!("  {:.3} {:?} {}:{} {} n={} {} {:?}", l.share, l.kind, l.file, l.line, l.function, l.count, l.target, l.origin); }
    for t in p.threads.iter().take(12) { println!("  {} {} {} n={} cpu {:.2} delay {:.2} {:?}", t.pid, t.tid, t.name, t.samples, t.cpu_s, t.queue_delay_s, t.shares.ranked()); }
}
