//! A partner that shares a channel with us and claims, or answers for, a connection whose socket another holds
//! (TRUST.md "Later connections of the same processes").

use super::attackers::{cookie_of, judge};
use super::late::{CLAIM, HANDSHAKE, LATE, in_time, play_unless_late, unless_late};
use super::{connection, failure, fd, leave, listener};
use crate::discovery::{Chance, Progress, knock};
use fastpath::channel::claims::ClaimAnswer;
use kmod_interface::handshake::End;
use kmod_interface::reason::Reason;

/// The role of this file.
pub fn play(words: &[&str]) -> Option<String> {
    (words[0] == "claim_anothers").then(|| {
        // What a late round leaves behind may be a distrusted channel, so there is no other round in this process.
        let round = in_time(HANDSHAKE, claim_anothers_connections);
        round.map_or(LATE, |()| "nothing").to_owned()
    })
}

/// In a process of its own, which the channel takes for the liar: no other test there would get a channel beside it.
#[test]
fn a_partner_who_claims_anothers_connection_gets_nothing() {
    assert_eq!(play_unless_late(&["claim_anothers"]), ["nothing"]);
}

fn claim_anothers_connections() {
    let listener = listener();
    let first = connection(&listener);
    let bound = first.bind(Chance::First);
    // The far end of `bound.1` is the liar: it knows everything about the victim but does not hold its socket.
    for failures in 1..=9 {
        let victim = connection(&listener);
        let cookie = cookie_of(&victim, End::Connecting);
        let Some(ticket) = bound.0.channel.claim_begin(&victim.pair, cookie, 5) else {
            panic!("no place");
        };
        let found = victim.probe();
        if failures == 9 && knock::REQUIRED {
            assert!(found.unwrap().is_none(), "the channel takes no more");
            break;
        }
        let mut s = found.unwrap().expect("the claim is found");
        let ClaimAnswer::Given {
            slot, generation, ..
        } = bound.0.channel.claim_answer(ticket)
        else {
            panic!("not answered");
        };
        bound.0.channel.claim_acknowledge(ticket);
        judge(s.advance(fd(&victim.s)), "liar");
        assert_eq!(
            bound.0.channel.claim_outcome(ticket),
            Some(!knock::REQUIRED)
        );
        bound.0.channel.claim_end(ticket);
        let _ = (slot, generation);
    }
    leave(bound);
}

#[test]
fn a_partner_who_answers_for_anothers_connection_gets_nothing() {
    unless_late(CLAIM, || {
        let listener = listener();
        let first = connection(&listener);
        let bound = first.bind(Chance::First);
        // The far end of `bound.0` is the liar: it answers a claim although another process holds the accepted socket.
        let victim = connection(&listener);
        let before = victim.shown();
        let mut c = victim.open(Chance::First).unwrap();
        let found = bound.1.channel.claim_find(&victim.pair).unwrap();
        assert!(bound.1.channel.claim_take(found.ticket));
        let (slot, generation) = bound.1.channel.allocate_slot().unwrap();
        bound
            .1
            .channel
            .claim_give(found.ticket, slot, generation, 3);
        let progress = c.advance(fd(&victim.c));
        if knock::REQUIRED {
            assert_eq!(failure(progress), Reason::ProofFailed);
        } else {
            bound.1.channel.claim_bound(found.ticket);
            judge(c.advance(fd(&victim.c)), "liar");
        }
        assert_eq!(victim.shown(), before);
        leave(bound);
    });
}

#[test]
fn impossible_answers_to_a_claim_are_a_failed_proof() {
    unless_late(CLAIM, || {
        let listener = listener();
        let first = connection(&listener);
        let bound = first.bind(Chance::First);
        for (slot, generation, value) in [(16, 1, 0), (u32::MAX, 1, 0), (1, 0, 0), (1, 1, 32)] {
            let victim = connection(&listener);
            let mut c = victim.open(Chance::First).unwrap();
            let found = bound.1.channel.claim_find(&victim.pair).unwrap();
            assert!(bound.1.channel.claim_take(found.ticket));
            bound
                .1
                .channel
                .claim_give(found.ticket, slot, generation, value);
            assert_eq!(failure(c.advance(fd(&victim.c))), Reason::ProofFailed);
        }
        // A slot that is in use already, by a partner who does hold the socket.
        let third = connection(&listener);
        let mut c = third.open(Chance::First).unwrap();
        let found = bound.1.channel.claim_find(&third.pair).unwrap();
        assert!(bound.1.channel.claim_take(found.ticket));
        let before = third.shown();
        knock::change(fd(&third.s), before.1, found.knock_value).unwrap();
        bound
            .1
            .channel
            .claim_give(found.ticket, bound.1.slot, bound.1.generation, 3);
        assert!(matches!(c.advance(fd(&third.c)), Progress::Pending));
        bound.1.channel.claim_bound(found.ticket);
        assert_eq!(failure(c.advance(fd(&third.c))), Reason::BadOffer);
        assert_eq!(third.shown().0, before.0);
        leave(bound);
    });
}

#[test]
fn a_claim_with_a_wrong_cookie_is_refused() {
    unless_late(CLAIM, || {
        let listener = listener();
        let first = connection(&listener);
        let bound = first.bind(Chance::First);
        let victim = connection(&listener);
        let ticket = bound.0.channel.claim_begin(&victim.pair, 1, 5).unwrap();
        assert_eq!(victim.probe().err(), Some(Reason::ProofFailed));
        assert_eq!(bound.0.channel.claim_answer(ticket), ClaimAnswer::Refused);
        bound.0.channel.claim_end(ticket);
        leave(bound);
    });
}
