//! What is possible between two processes: round trips and streams, over a port and over a pipe, and what fresh memory costs.
//!
//!     cargo run -p tercet-shm --example limit --release -- [ROUNDS]
//!
//! The figures are those of the machine and of the moment: run it when nothing else runs, and compare lines of one run.

#[cfg(not(all(target_os = "linux", not(loom))))]
fn main() {}

#[cfg(all(target_os = "linux", not(loom)))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    limit::run()
}

#[cfg(all(target_os = "linux", not(loom)))]
#[allow(clippy::print_stdout, reason = "an example is a program")]
mod limit {
    use std::error::Error;
    use std::fs::File;
    use std::io::{Read, Write};
    use std::time::Instant;

    use tercet_shm::{Arena, Bell, Bells, Port, Want};

    type Outcome<T = ()> = Result<T, Box<dyn Error>>;

    const CAPACITY: usize = 8 << 20;
    const MESSAGE: usize = 64;

    pub(super) fn run() -> Outcome {
        let rounds = std::env::args().nth(1).map_or(Ok(20_000), |word| word.parse())?;
        println!("round trip of {MESSAGE} bytes, us");
        summary("port", port_round_trips(rounds)?);
        summary("pipe", pipe_round_trips(rounds)?);
        println!("stream, messages/s and MB/s");
        for (len, count) in [(16, rounds * 50), (100, rounds * 50), (10_000, rounds * 2), (1_000_000, rounds / 50)] {
            rate("port", len, count, port_stream(len, count)?);
            rate("pipe", len, count, pipe_stream(len, count)?);
        }
        println!("memory of 64 MB, MB/s");
        fresh_and_warm()
    }

    fn summary(name: &str, mut times_us: Vec<f64>) {
        times_us.sort_by(f64::total_cmp);
        let at = |share: f64| times_us[((times_us.len() - 1) as f64 * share) as usize];
        println!("  {name:<6} p50 {:>8.2}  p99 {:>8.2}", at(0.5), at(0.99));
    }

    fn rate(name: &str, len: usize, count: usize, seconds: f64) {
        let each_second = count as f64 / seconds;
        println!("  {name:<6} {len:>8} B {each_second:>12.0} msg/s {:>10.1} MB/s", each_second * len as f64 / 1e6);
    }

    /// Runs a function in a process of its own while another runs here.
    fn beside<T>(there: impl FnOnce() -> Outcome, here: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        // SAFETY: this program has one thread, and the child leaves through `_exit`.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let code = i32::from(there().is_err());
            // SAFETY: it takes a number and does not return.
            unsafe { libc::_exit(code) };
        }
        let outcome = here()?;
        let mut status = 0;
        // SAFETY: the child is ours, and `status` is there to be written.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        if status == 0 { Ok(outcome) } else { Err("the other process has failed".into()) }
    }

    fn ports() -> Outcome<(Port, Port)> {
        let bells = Bells { mine: Bell::new()?, theirs: Bell::new()? };
        Ok(Port::pair(CAPACITY, bells)?)
    }

    fn send(port: &mut Port, frame: &[u8]) -> Outcome {
        while !port.outgoing.push(frame)? {
            port.wait(Want::Room(frame.len()), &[], None)?;
        }
        port.outgoing.commit();
        Ok(())
    }

    /// Reads a frame into a buffer, as a pipe would.
    fn receive(port: &mut Port, buffer: &mut [u8]) -> Outcome {
        loop {
            if let Some(frame) = port.incoming.read()? {
                buffer[..frame.len()].copy_from_slice(frame);
                port.incoming.release();
                return Ok(());
            }
            port.wait(Want::Frame, &[], None)?;
        }
    }

    fn port_round_trips(rounds: usize) -> Outcome<Vec<f64>> {
        let (mut near, mut far) = ports()?;
        let mut buffer = [0; MESSAGE];
        let echo = || {
            let mut buffer = [0; MESSAGE];
            for _ in 0..rounds {
                receive(&mut far, &mut buffer)?;
                send(&mut far, &buffer)?;
                far.flush()?;
            }
            Ok(())
        };
        beside(echo, || {
            (0..rounds)
                .map(|_| {
                    let begun = Instant::now();
                    send(&mut near, &buffer)?;
                    receive(&mut near, &mut buffer)?;
                    Ok(begun.elapsed().as_secs_f64() * 1e6)
                })
                .collect()
        })
    }

    fn pipe() -> Outcome<(File, File)> {
        let (reader, writer) = rustix::pipe::pipe()?;
        Ok((reader.into(), writer.into()))
    }

    fn pipe_round_trips(rounds: usize) -> Outcome<Vec<f64>> {
        let ((mut here_in, mut there_out), (mut there_in, mut here_out)) = (pipe()?, pipe()?);
        let mut buffer = [0; MESSAGE];
        let echo = || {
            let mut buffer = [0; MESSAGE];
            for _ in 0..rounds {
                there_in.read_exact(&mut buffer)?;
                there_out.write_all(&buffer)?;
            }
            Ok(())
        };
        beside(echo, || {
            (0..rounds)
                .map(|_| {
                    let begun = Instant::now();
                    here_out.write_all(&buffer)?;
                    here_in.read_exact(&mut buffer)?;
                    Ok(begun.elapsed().as_secs_f64() * 1e6)
                })
                .collect()
        })
    }

    fn port_stream(len: usize, count: usize) -> Outcome<f64> {
        let (mut near, mut far) = ports()?;
        let frame = vec![1; len];
        let pour = || {
            for number in 0..count {
                send(&mut far, &frame)?;
                if number % 64 == 0 {
                    far.flush()?;
                }
            }
            far.flush()?;
            Ok(())
        };
        let mut buffer = vec![0; len];
        let begun = Instant::now();
        beside(pour, || (0..count).try_for_each(|_| receive(&mut near, &mut buffer)))?;
        Ok(begun.elapsed().as_secs_f64())
    }

    fn pipe_stream(len: usize, count: usize) -> Outcome<f64> {
        let (mut reader, mut writer) = pipe()?;
        let frame = vec![1; len];
        let mut buffer = vec![0; len];
        let begun = Instant::now();
        let pour = || (0..count).try_for_each(|_| Ok(writer.write_all(&frame)?));
        beside(pour, || (0..count).try_for_each(|_| Ok(reader.read_exact(&mut buffer)?)))?;
        Ok(begun.elapsed().as_secs_f64())
    }

    fn fresh_and_warm() -> Outcome {
        const LEN: usize = 64 << 20;
        let source = vec![1_u8; LEN];
        let mut arena = Arena::new(LEN, LEN as u64)?;
        // Written, it has pages that are not mapped yet: the next one to touch them maps them.
        for name in ["touched", "warm", "warm", "written", "warm", "warm"] {
            if name == "written" {
                arena.trim(0);
            }
            let mut draft = arena.allocate(LEN)?;
            let begun = Instant::now();
            if name == "touched" {
                draft.copy_from_slice(&source);
            } else {
                draft.fill_from(&source);
            }
            println!("  {name:<8} {:>10.0}", LEN as f64 / 1e6 / begun.elapsed().as_secs_f64());
            let slab = arena.seal(draft);
            arena.free(slab)?;
        }
        Ok(())
    }
}
