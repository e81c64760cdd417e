//! Offers from strangers: whatever arrives is refused or is exactly what its fields say, within the protocol's ranges.
#![no_main]

use kmod_interface::channel_layout::RegionLayout;
use kmod_interface::handshake::{AddressPair, End, OFFER_BYTES, Offer, PAIR_BYTES};
use kmod_interface::limits::{KNOCK_BITS, MAGIC, VERSION};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    check_offer(data);
    // The fuzzer does not guess the first words often.
    let mut with_header = Vec::from(MAGIC.to_le_bytes());
    with_header.extend_from_slice(&VERSION.to_le_bytes());
    with_header.extend_from_slice(data);
    check_offer(&with_header);
    if let Some(pair) = data.first_chunk::<PAIR_BYTES>() {
        let read = AddressPair::from_bytes(pair);
        assert_eq!(&read.to_bytes(), pair);
        assert_ne!(read.name(End::Connecting), read.name(End::Accepting));
    }
});

fn check_offer(bytes: &[u8]) {
    let Ok(offer) = Offer::from_bytes(bytes) else {
        return;
    };
    assert_eq!(bytes.len(), OFFER_BYTES);
    // All but the minor version is carried by the fields.
    assert_eq!(offer.to_bytes()[8..], bytes[8..]);
    let layout = RegionLayout::of_class(offer.class).expect("a size class that exists");
    assert!(layout.entry(offer.slot).is_some());
    assert!(offer.knock_value < 1 << KNOCK_BITS);
    assert_ne!(offer.generation, 0);
}
