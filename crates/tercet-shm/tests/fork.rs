//! What a copy of a process means for what it was lent. A test binary of its own: it concerns all loans of a process.

#![cfg(all(target_os = "linux", not(loom)))]

use tercet_shm::{Arena, Holder, about_to_fork};

#[test]
fn what_was_held_during_a_fork_stays_until_the_holder_is_gone() {
    let mut arena = Arena::new(1 << 20, 0).unwrap();
    let peer = arena.enrol().unwrap();
    let ledger = arena.ledger_fd(peer).unwrap().try_clone_to_owned().unwrap();
    let far = Holder::open(arena.data_fd().unwrap(), ledger).unwrap();
    let lend = |arena: &mut Arena| {
        let draft = arena.allocate(100_000).unwrap();
        let slab = arena.seal(draft);
        let loan = far.receive(arena.lend(&slab, peer).unwrap()).unwrap();
        arena.free(slab).unwrap();
        loan
    };
    let before = lend(&mut arena);
    about_to_fork();
    let after = lend(&mut arena);
    drop((before, after));
    arena.reclaim();
    assert_eq!(arena.usage().slabs, 1, "the copy may read the first");
    arena.dismiss(peer).unwrap();
    assert_eq!(arena.usage().slabs, 0);
}
