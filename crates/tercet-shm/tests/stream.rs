//! Both sides at full speed, as two threads: what a sanitizer of races can see.

#![cfg(all(target_os = "linux", not(loom)))]

use std::thread;
use std::time::{Duration, Instant};

use tercet_shm::{Bell, Bells, Port, Want, Woken};

const FRAMES: u64 = 50_000;

fn wait(port: &mut Port, want: Want) {
    let limit = Some(Instant::now() + Duration::from_secs(60));
    assert_ne!(port.wait(want, &[], limit).unwrap(), Woken::TimedOut);
}

/// A frame of a length of its own, all of whose words say its number.
fn frame(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(1 + (number % 13) as usize)
}

/// Sends every frame back.
fn echo(port: &mut Port) {
    for _ in 0..FRAMES {
        let frame = loop {
            match port.incoming.read().unwrap() {
                Some(frame) => break frame.to_vec(),
                None => wait(port, Want::Frame),
            }
        };
        while !port.outgoing.push(&frame).unwrap() {
            wait(port, Want::Room(frame.len()));
        }
    }
    port.flush().unwrap();
}

#[test]
fn every_frame_comes_back_in_order() {
    let bells = Bells { mine: Bell::new().unwrap(), theirs: Bell::new().unwrap() };
    let (mut near, mut far) = Port::pair(1024, bells).unwrap();
    let worker = thread::spawn(move || echo(&mut far));
    let (mut sent, mut back) = (0, 0);
    while back < FRAMES {
        while sent < FRAMES && near.outgoing.push(&frame(sent)).unwrap() {
            sent += 1;
            if sent % 5 == 0 {
                near.outgoing.commit();
            }
        }
        while let Some(found) = near.incoming.read().unwrap() {
            assert_eq!(found, frame(back));
            back += 1;
        }
        if back < FRAMES {
            let want = if sent < FRAMES { Want::Either(frame(sent).len()) } else { Want::Frame };
            wait(&mut near, want);
        }
    }
    worker.join().unwrap();
}
